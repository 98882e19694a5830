/* Any bytes as a list of fields and what is done to it: sums stay true, memory comes back, and what fields_check lets through is what
 * its readers rely on.
 *
 * Input: records of {operation, name length, value length, name, value}; lengths are cut to what is there. */
#include <assert.h>
#include <stdlib.h>
#include "net/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sums_are_true(const struct fields *f)
{
	uint64_t size = 0;

	fields_each(e, f) {
		size += (uint64_t)e->name_len + e->value_len + 32;
		assert(e->token == field_token(e->name, e->name_len));
		assert(e->flags == field_flags(e->token));
		assert(e->token == FIELD_OTHER || str_eq(field_name(e->token), str_n(e->name, e->name_len)));
	}
	assert(size == f->size);
	assert(!f->charge.account || f->charge.account->used == f->charge.n);
}

static unsigned times(const struct fields *f, enum field_token t)
{
	unsigned n = 0;

	fields_each(e, f)
		n += e->token == t;
	return n;
}

static void a_good_request_is_one(const struct fields *f)
{
	struct str path = fields_value(f, FIELD_PATH), authority = fields_value(f, FIELD_AUTHORITY);

	assert(times(f, FIELD_METHOD) == 1 && times(f, FIELD_SCHEME) == 1 && times(f, FIELD_PATH) == 1);
	assert(times(f, FIELD_AUTHORITY) <= 1 && times(f, FIELD_HOST) <= 1 && !times(f, FIELD_STATUS) && !times(f, FIELD_PROTOCOL));
	assert(!str_is(fields_value(f, FIELD_METHOD), "CONNECT"));
	assert(path.n && (path.p[0] == '/' || str_is(path, "*")));
	for (size_t i = 0; i < path.n; i++)
		assert((unsigned char)path.p[i] > ' ');
	for (size_t i = 0; i < authority.n; i++)
		assert((unsigned char)authority.p[i] > ' ');
	assert(fields_content_length(f) >= -1);
	fields_each(e, f)
		assert(!(e->flags & FF_HOP));
}

static void operate(struct fields *f, unsigned what, struct str name, struct str value)
{
	enum field_token t = (enum field_token)(1 + name.n % (FIELD_TOKENS - 1));

	switch (what % 8) {
	case 0:
	case 1:
	case 2:
		fields_add(f, name, value);
		break;
	case 3:
		fields_add_token(f, t, value);
		break;
	case 4:
		fields_set(f, t, value);
		break;
	case 5:
		fields_del(f, t);
		break;
	case 6:
		if (fields_find(f, name))
			fields_del_field(f, fields_find(f, name));
		break;
	default:
		fields_set(f, t, fields_value(f, t)); /* with its own bytes */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fields_pool *pool = fields_pool_new();
	struct account account;
	struct fields *f, *copy;

	account_init(&account, NULL, "fuzz", 65536);
	f = fields_new(pool, &account);
	for (size_t at = 0; at + 3 <= size;) {
		unsigned what = data[at];
		size_t n = data[at + 1], v = data[at + 2];
		struct str name, value;

		at += 3;
		n = n < size - at ? n : size - at;
		name = str_n((const char *)data + at, n);
		at += n;
		v = (what & 0x80 ? v * 64 : v) < size - at ? (what & 0x80 ? v * 64 : v) : size - at;
		value = str_n((const char *)data + at, v);
		at += v;
		operate(f, what, name, value);
		if (field_name_valid(name.p, name.n))
			assert(name.n && !memchr(name.p, ' ', name.n) && !memchr(name.p + 1, ':', name.n - 1));
		if (field_value_valid(value.p, value.n))
			assert(!value.n || (!memchr(value.p, '\n', value.n) && !memchr(value.p, '\r', value.n) && !memchr(value.p, '\0', value.n)));
	}
	sums_are_true(f);
	if (!fields_check(f, FIELDS_REQUEST))
		a_good_request_is_one(f);
	if (!fields_check(f, FIELDS_RESPONSE))
		assert(times(f, FIELD_STATUS) == 1 && fields_value(f, FIELD_STATUS).n == 3 && fields_content_length(f) >= -1);
	(void)fields_check(f, FIELDS_TRAILERS);
	(void)fields_is_grpc(f);
	copy = fields_copy(f, NULL);
	if (copy) {
		sums_are_true(copy);
		assert(copy->size == f->size && fields_check(copy, FIELDS_REQUEST) == fields_check(f, FIELDS_REQUEST));
	}
	fields_unref(&copy);
	fields_unref(&f);
	assert(account.used == 0);
	fields_pool_free(&pool);
	return 0;
}
