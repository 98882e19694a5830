/* Calls of all shapes go through and come back as they were: relaying, half-close, early answers, cancellation. */
#include "tests/flow/rig.h"
#include "tests/unit.h"

#define ONE "10.0.0.1:50051"

START_TEST(a_unary_call_reaches_its_provider_and_its_answer_comes_back)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct provider *p = provider_new(r, ONE, ECHOES);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, DEMO, "x-attachment: v1\ntoken-bin: AAECAw==\n");

	rig_settle(r);
	ck_assert_msg(call_ok(c), "cause %d status %d grpc %d %s", c->end.cause, c->status, c->grpc, call_text(c));
	ck_assert_uint_eq(c->bytes, 10);
	ck_assert(memcmp(c->data.p, "\0\0\0\0\5hello", 10) == 0);
	ck_assert_uint_eq(p->requests, 1);
	struct served *s = provider_last(p);
	ck_assert_str_eq(served_field(s, ":authority"), DEMO);
	ck_assert_str_eq(served_field(s, ":path"), PATH);
	ck_assert_str_eq(served_field(s, "x-attachment"), "v1");
	ck_assert_str_eq(served_field(s, "token-bin"), "AAECAw==");
	ck_assert_str_eq(served_field(s, "te"), "trailers");
	ck_assert(s->fin && s->end.cause == END_DONE);
	rig_free(&r);
}
END_TEST

Suite *suite(void);
UNIT_SUITE("relay", a_unary_call_reaches_its_provider_and_its_answer_comes_back)
