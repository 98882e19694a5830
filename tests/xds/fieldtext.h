/* Protobuf messages as text, for tests: a field is its number and what it holds, so that a row shows what goes over the wire and no generated code is trusted.
 *
 *   1:'text'  3=7  3=-7  2{ 1:'inner' }       blanks and commas between them; 'text' knows \\ \' \n \0 and \xHH
 *
 * A text that can't be read fails the test. */
#pragma once
#include "base/str.h"

struct sb fieldtext(const char *text); /* the caller's: sb_end */
