/* Runs all unit tests of the agent; the exit status is 1 when one failed. */
#include <stdarg.h>
#include "../src/log.h"
#include "../src/question.h"
#include "check.h"

int checks, failures;

void log_line(int level, const char *format, ...)
{
	(void)level, (void)format;
}

unsigned make_message(uint8_t bytes[512], uint16_t id, int is_response, int rcode, const char *name, uint16_t type)
{
	unsigned size = 12;

	memset(bytes, 0, 512);
	bytes[0] = (uint8_t)(id >> 8), bytes[1] = (uint8_t)id;
	bytes[2] = is_response ? 0x81 : 1, bytes[3] = (uint8_t)rcode, bytes[5] = 1;
	while (*name) {
		size_t length = strcspn(name, ".");
		bytes[size++] = (uint8_t)length;
		memcpy(bytes + size, name, length);
		size += (unsigned)length;
		name += length + (name[length] == '.');
	}
	bytes[size++] = 0;
	bytes[size++] = (uint8_t)(type >> 8), bytes[size++] = (uint8_t)type;
	bytes[size++] = 0, bytes[size++] = 1;
	return size;
}

int main(void)
{
	question_seed(42);
	test_question();
	test_filter();
	test_pairing();
	test_tcp();
	test_session();
	test_packets();
	printf("%d checks, %d failed\n", checks, failures);
	return failures != 0;
}
