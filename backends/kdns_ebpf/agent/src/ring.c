#include "ring.h"
#include <sys/mman.h>
#include <unistd.h>

enum { BUSY = 1 << 31, DISCARDED = 1 << 30, HEADER_BYTES = 8 };

int ring_open(struct ring *r, int fd, uint32_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	/* The data lie there twice, so that no event is broken at the end; of the second time only as much is
	 * mapped as one event can need, for all that is mapped counts as memory of ours. */
	size_t again = (sizeof(struct kdns_event) + KDNS_CAPTURE_MAX + HEADER_BYTES + page - 1) / page * page;
	if (again > bytes)
		again = bytes; /* a ring that small has no such events */
	void *consumer = mmap(0, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	void *producer = mmap(0, page + bytes + again, PROT_READ, MAP_SHARED, fd, (off_t)page);

	if (consumer == MAP_FAILED || producer == MAP_FAILED)
		return 0;
	r->consumed = consumer;
	r->produced = producer;
	r->data = (const char *)producer + page;
	r->bytes = bytes;
	return 1;
}

unsigned ring_read(struct ring *r, unsigned most, void (*take)(void *context, const struct kdns_event *e),
	void *context)
{
	uint64_t at = __atomic_load_n(r->consumed, __ATOMIC_RELAXED);
	unsigned taken = 0;

	while (taken < most && at < __atomic_load_n(r->produced, __ATOMIC_ACQUIRE)) {
		const uint32_t *header = (const uint32_t *)(r->data + (at & (r->bytes - 1)));
		uint32_t length = __atomic_load_n(header, __ATOMIC_ACQUIRE);
		if (length & (uint32_t)BUSY)
			break;
		if (!(length & DISCARDED)) {
			take(context, (const struct kdns_event *)(header + HEADER_BYTES / 4));
			taken++;
		}
		at += ((length & ~((uint32_t)BUSY | DISCARDED)) + HEADER_BYTES + 7) & ~7u;
		__atomic_store_n(r->consumed, at, __ATOMIC_RELEASE);
	}
	return taken;
}
