/* tests/xds/fieldtext: see the header. */
#include "tests/xds/fieldtext.h"

#include <check.h>
#include <stdlib.h>

#include "xds/wire.h"

static void message(const char **at, struct sb *out, const char *whole);

static void text_value(const char **at, struct sb *out, const char *whole)
{
	for ((*at)++; **at != '\''; (*at)++) {
		if (**at == '\0') /* a check a byte would be most of the time that a megabyte takes */
			ck_abort_msg("a text without its end: %s", whole);
		if (**at != '\\') {
			sb_char(out, **at);
			continue;
		}
		(*at)++;
		if (**at == 'n') {
			sb_char(out, '\n');
		} else if (**at == '0') {
			sb_char(out, '\0');
		} else if (**at == 'x') {
			char hex[3] = {(*at)[1], (*at)[2], '\0'};
			sb_char(out, (char)strtol(hex, NULL, 16));
			*at += 2;
		} else {
			sb_char(out, **at);
		}
	}
	(*at)++;
}

static void field(const char **at, struct sb *out, const char *whole)
{
	char *end;
	uint32_t number = (uint32_t)strtoul(*at, &end, 10);
	struct sb inner = {0};

	if (end == *at)
		ck_abort_msg("no number at '%s' of: %s", *at, whole);
	*at = end;
	switch (*(*at)++) {
	case '=':
		wire_put_varint(out, number, (uint64_t)strtoll(*at, &end, 10));
		*at = end;
		return;
	case ':':
		ck_assert_msg(**at == '\'', "no text at '%s' of: %s", *at, whole);
		text_value(at, &inner, whole);
		break;
	case '{':
		message(at, &inner, whole);
		ck_assert_msg(*(*at)++ == '}', "a message without its end: %s", whole);
		break;
	default: ck_abort_msg("what is '%s' of: %s", *at - 1, whole);
	}
	wire_put_bytes(out, number, sb_view(&inner));
	sb_end(&inner);
}

static void message(const char **at, struct sb *out, const char *whole)
{
	while (true) {
		*at += strspn(*at, " ,\n\t");
		if (**at == '\0' || **at == '}')
			return;
		field(at, out, whole);
	}
}

struct sb fieldtext(const char *text)
{
	struct sb out = {0};
	const char *at = text;

	message(&at, &out, text);
	ck_assert_msg(*at == '\0', "too many } in: %s", text);
	return out;
}
