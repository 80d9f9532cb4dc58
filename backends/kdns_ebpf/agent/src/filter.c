#include "filter.h"
#include <stdlib.h>
#include <string.h>

void filter_clear(struct filter *f)
{
	free(f->lists);
	memset(f, 0, sizeof *f);
}

static int refuse(struct filter *f, const char *problem)
{
	filter_clear(f);
	strncpy(f->problem, problem, sizeof f->problem - 1);
	return 0;
}

/* Walks over `count` items of kind, size and text; the position behind them, or 0 where they do not fit. */
static uint32_t skip_items(const uint8_t *lists, uint32_t size, uint32_t at, unsigned count)
{
	while (count--) {
		if (at + 2 > size || at + 2u + lists[at + 1] > size)
			return 0;
		at += 2u + lists[at + 1];
	}
	return at;
}

int filter_set(struct filter *f, const uint8_t *frame, uint32_t size)
{
	struct kdns_config config;

	filter_clear(f);
	if (size < sizeof config || size > KDNS_MAX_CONFIG)
		return refuse(f, "a CONFIG of that size cannot be");
	memcpy(&config, frame, sizeof config);
	if (config.magic != KDNS_MAGIC || config.version != KDNS_VERSION)
		return refuse(f, "client and agent are of different versions");
	if (config.types_mode > KDNS_TYPES_NOT)
		return refuse(f, "unknown mode of types");
	uint32_t lists_size = size - (uint32_t)sizeof config;
	const uint8_t *lists = frame + sizeof config;
	uint32_t names_at = (config.types * 2u + 3) & ~3u;
	if (names_at > lists_size)
		return refuse(f, "the list of types is cut");
	uint32_t clients_at = skip_items(lists, lists_size, names_at, config.names);
	if (config.names && !clients_at)
		return refuse(f, "the list of names is cut");
	clients_at = config.names ? clients_at : names_at;
	uint32_t end = skip_items(lists, lists_size, clients_at, config.clients);
	if (config.clients && !end)
		return refuse(f, "the list of clients is cut");
	f->lists = malloc(lists_size + 1);
	if (!f->lists)
		return refuse(f, "no memory for the filter");
	memcpy(f->lists, lists, lists_size);
	f->config = config;
	f->lists_size = lists_size;
	f->names_at = names_at;
	f->clients_at = clients_at;
	return 1;
}

static int type_fits(const struct filter *f, uint16_t type)
{
	int listed = 0;

	for (unsigned i = 0; i < f->config.types && !listed; i++) {
		uint16_t wanted;
		memcpy(&wanted, f->lists + 2 * i, 2);
		listed = wanted == type;
	}
	return listed == (f->config.types_mode == KDNS_TYPES_ONLY);
}

static int name_fits(uint8_t kind, const char *text, unsigned size, const char *name, unsigned length)
{
	switch (kind) {
	case KDNS_NAME_EXACT: return size == length && !memcmp(text, name, size);
	case KDNS_NAME_SUFFIX: return size <= length && !memcmp(text, name + length - size, size);
	case KDNS_NAME_PREFIX: return size <= length && !memcmp(text, name, size);
	case KDNS_NAME_SUBSTRING: return memmem(name, length, text, size) != 0;
	}
	return 1; /* a kind that is not known here does not decide */
}

static int any_name_fits(const struct filter *f, const struct candidate *c)
{
	char name[QUESTION_NAME_MAX];
	unsigned length = question_name(name, c->data, c->data_size);
	const uint8_t *item = f->lists + f->names_at;

	for (unsigned i = 0; i < f->config.names; i++, item += 2 + item[1])
		if (name_fits(item[0], (const char *)item + 2, item[1], name, length))
			return 1;
	return 0;
}

/* cgroup names have a pod's UID as it is, or with _ for - (systemd). */
static int holds_uid(const char *path, const char *uid, unsigned size)
{
	for (; *path; path++) {
		unsigned i = 0;
		while (i < size && (path[i] == uid[i] || (path[i] == '_' && uid[i] == '-')))
			i++;
		if (i == size)
			return 1;
	}
	return 0;
}

/* At the client's side the cgroup says which pod asked; elsewhere, and where it is not known, the address. */
static int any_client_fits(const struct filter *f, const struct candidate *c)
{
	unsigned address_size = c->family == 4 ? 4 : 16;
	int by_cgroup = c->side == KDNS_SIDE_CLIENT && c->cgroup_path[0];
	const uint8_t *item = f->lists + f->clients_at;

	for (unsigned i = 0; i < f->config.clients; i++, item += 2 + item[1]) {
		if (item[0] == KDNS_CLIENT_POD_UID) {
			if (by_cgroup && item[1] && holds_uid(c->cgroup_path, (const char *)item + 2, item[1]))
				return 1;
		} else if (!by_cgroup && item[1] == address_size && !memcmp(item + 2, c->client_ip, address_size))
			return 1;
	}
	return 0;
}

int filter_wants(const struct filter *f, const struct candidate *c)
{
	const struct kdns_config *config = &f->config;
	uint32_t outcome = c->answered ? 1u << c->rcode : (uint32_t)KDNS_OUTCOME_NO_ANSWER;

	if (!(config->outcomes & outcome) &&
		!(c->answered && question_has_extended_rcode(c->response, c->response_size)))
		return 0;
	if (config->slower_than_ns && c->answered && c->latency_ns < config->slower_than_ns)
		return 0;
	if (config->slower_than_ns && !c->answered)
		return 0;
	if (c->question.has_name) {
		if (config->types_mode != KDNS_TYPES_ANY && !type_fits(f, c->question.type))
			return 0;
		if (config->names && !any_name_fits(f, c))
			return 0;
	}
	return !config->clients || any_client_fits(f, c);
}
