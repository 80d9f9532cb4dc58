#include "question.h"
#include <string.h>

static uint64_t seed_of_hashes;

void question_seed(uint64_t seed) { seed_of_hashes = seed; }

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

static uint64_t mix(uint64_t hash, uint64_t word)
{
	__uint128_t product = (__uint128_t)(hash ^ word) * 0x9e3779b97f4a7c15ull;
	return (uint64_t)product ^ (uint64_t)(product >> 64) ^ seed_of_hashes;
}

int question_read(struct question *q, const uint8_t *data, uint32_t size)
{
	memset(q, 0, sizeof *q);
	if (size < 12)
		return 0;
	q->id = (uint16_t)(data[0] << 8 | data[1]);
	q->is_response = data[2] >> 7;
	q->rcode = data[3] & 15;
	if (!(data[4] | data[5]))
		return 1; /* a bare FORMERR repeats no question */
	uint64_t hash = seed_of_hashes ^ 0x2545f4914f6cdd1dull, word = 0;
	unsigned filled = 0, total = 0;
	uint32_t at = 12;
	for (;;) {
		if (at >= size)
			return 1;
		uint8_t length = data[at];
		/* Nothing can be pointed to in front of the first name. */
		if (length > 63 || at + length >= size || (total += length + 1u) > 255)
			return 1;
		for (unsigned i = 0; i <= length; i++) {
			word = word << 8 | lower(data[at + i]);
			if (++filled == 8) {
				hash = mix(hash, word);
				word = filled = 0;
			}
		}
		at += length + 1u;
		if (!length)
			break;
	}
	if (at + 4 > size)
		return 1;
	q->type = (uint16_t)(data[at] << 8 | data[at + 1]);
	hash = mix(hash, word << 8 | filled);
	q->hash = mix(hash, (uint64_t)q->type << 16 | (uint64_t)data[at + 2] << 8 | data[at + 3]);
	q->has_name = 1;
	return 1;
}

/* The position behind a name, 0 when it is cut. */
static uint32_t skip_name(const uint8_t *data, uint32_t size, uint32_t at)
{
	while (at < size) {
		if (data[at] >= 0xc0)
			return at + 2 <= size ? at + 2 : 0;
		if (!data[at])
			return at + 1;
		at += data[at] + 1u;
	}
	return 0;
}

static unsigned count_at(const uint8_t *data, unsigned at) { return (unsigned)data[at] << 8 | data[at + 1]; }

int question_has_extended_rcode(const uint8_t *data, uint32_t size)
{
	enum { OPT = 41, RECORD_HEAD = 10 };
	uint32_t at = 12;

	if (size < 12 || !count_at(data, 10))
		return 0;
	for (unsigned i = count_at(data, 4); i; i--)
		if (!(at = skip_name(data, size, at)) || (at += 4) > size)
			return 1;
	for (unsigned i = count_at(data, 6) + count_at(data, 8) + count_at(data, 10); i; i--) {
		if (!(at = skip_name(data, size, at)) || at + RECORD_HEAD > size)
			return 1;
		if (count_at(data, at) == OPT)
			return data[at + 4] != 0;
		at += RECORD_HEAD + count_at(data, at + 8);
	}
	return at > size;
}

unsigned question_name(char text[QUESTION_NAME_MAX], const uint8_t *data, uint32_t size)
{
	unsigned used = 0;
	uint32_t at = 12;

	while (at < size && data[at]) {
		unsigned length = data[at++];
		if (used)
			text[used++] = '.';
		for (unsigned i = 0; i < length && at < size; i++, at++) {
			uint8_t c = lower(data[at]);
			if (c == '.' || c == '\\') {
				text[used++] = '\\';
				text[used++] = (char)c;
			} else if (c > 0x20 && c < 0x7f)
				text[used++] = (char)c;
			else {
				text[used++] = '\\';
				text[used++] = (char)('0' + c / 100);
				text[used++] = (char)('0' + c / 10 % 10);
				text[used++] = (char)('0' + c % 10);
			}
		}
	}
	if (!used)
		text[used++] = '.';
	return used;
}
