/* tests/xds/wiretext: see the header. */
#include "tests/xds/wiretext.h"
#include <assert.h>
#include <stdlib.h>

static const char *message(struct sb *out, const char *p);

static const char *value(struct sb *out, uint32_t number, const char *p)
{
	char *end;
	if (*p == '\'') {
		const char *close = strchr(++p, '\'');
		assert(close);
		wire_put_bytes(out, number, str_n(p, (size_t)(close - p)));
		return close + 1;
	}
	if (*p == '{') {
		struct sb in = {0};
		p = message(&in, p + 1);
		assert(*p == '}');
		wire_put_bytes(out, number, sb_view(&in));
		sb_end(&in);
		return p + 1;
	}
	if (*p == 'd') {
		double d = strtod(p + 1, &end);
		uint64_t bits;
		memcpy(&bits, &d, sizeof(bits));
		wire_put_fixed64(out, number, bits);
		return end;
	}
	uint64_t v = *p == '-' ? (uint64_t)strtoll(p, &end, 10) : strtoull(p, &end, 10);
	assert(end != p);
	wire_put_varint(out, number, v);
	return end;
}

static const char *message(struct sb *out, const char *p)
{
	for (;;) {
		while (*p == ' ')
			p++;
		if (!*p || *p == '}')
			return p;
		char *end;
		unsigned long number = strtoul(p, &end, 10);
		assert(number && *end == ':');
		p = value(out, (uint32_t)number, end + 1);
	}
}

void wiretext(struct sb *out, const char *text)
{
	const char *end = message(out, text);
	assert(!*end);
	(void)end;
}
