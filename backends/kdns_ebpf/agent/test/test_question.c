/* Header, question and name of messages, whole and broken. */
#include "../src/question.h"
#include "check.h"

static void names_are_lower_case_and_escaped(void)
{
	uint8_t m[512];
	char text[QUESTION_NAME_MAX];
	struct question q;
	unsigned size = make_message(m, 7, 0, 0, "WWW.Example.com", 28);

	CHECK(question_read(&q, m, size));
	CHECK(q.has_name && q.type == 28 && q.id == 7 && !q.is_response);
	CHECK_EQUAL(question_name(text, m, size), 15);
	CHECK(!memcmp(text, "www.example.com", 15));
	m[13] = '.', m[14] = 1, m[15] = '\\';
	unsigned length = question_name(text, m, size);
	CHECK(!memcmp(text, "\\.\\001\\\\.example.com", 20) && length == 20);
	size = make_message(m, 7, 0, 0, "", 2);
	CHECK(question_read(&q, m, size) && q.has_name);
	CHECK(question_name(text, m, size) == 1 && text[0] == '.');
}

static void hashes_tell_questions_apart(void)
{
	uint8_t m[512];
	struct question a, b;
	unsigned size = make_message(m, 1, 0, 0, "a.example.com", 1);

	question_read(&a, m, size);
	size = make_message(m, 2, 1, 0, "A.EXAMPLE.COM", 1);
	question_read(&b, m, size);
	CHECK(a.hash == b.hash);
	size = make_message(m, 2, 1, 0, "a.example.com", 28);
	question_read(&b, m, size);
	CHECK(a.hash != b.hash);
	size = make_message(m, 2, 1, 0, "a.exampl.ecom", 1);
	question_read(&b, m, size);
	CHECK(a.hash != b.hash);
}

static void what_is_cut_has_no_name(void)
{
	uint8_t m[512];
	struct question q;
	unsigned size = make_message(m, 1, 0, 0, "a.example.com", 1);

	for (unsigned cut = 0; cut < size; cut++) {
		CHECK_EQUAL(question_read(&q, m, cut), cut >= 12);
		CHECK(!q.has_name);
	}
	m[12] = 0xc0; /* a pointer */
	CHECK(question_read(&q, m, size) && !q.has_name);
	m[5] = 0; /* no question at all */
	CHECK(question_read(&q, m, size) && !q.has_name);
}

static void a_name_of_255_bytes_is_one(void)
{
	uint8_t m[512];
	char name[256] = "", text[QUESTION_NAME_MAX];
	struct question q;

	for (int i = 0; i < 127; i++)
		strcat(name, i ? ".a" : "a");
	unsigned size = make_message(m, 1, 0, 0, name, 1);
	CHECK(question_read(&q, m, size) && q.has_name);
	CHECK_EQUAL(question_name(text, m, size), 253);
	memset(m + 12, 1, 2 * 128);
	m[12 + 256] = 0;
	CHECK(question_read(&q, m, 12 + 257 + 4) && !q.has_name);
}

void test_question(void)
{
	names_are_lower_case_and_escaped();
	hashes_tell_questions_apart();
	what_is_cut_has_no_name();
	a_name_of_255_bytes_is_one();
}
