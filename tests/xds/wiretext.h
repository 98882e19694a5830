/* tests/xds/wiretext: messages as one line of text, so that tables of rows can have them:
 *
 *	"1:'demo' 2:3 3:{1:{3:{}} 2:'service'} 27:{1:{1:d50}}"
 *
 * NUMBER:DIGITS a varint (a minus sign makes it a 64 bit negative one), NUMBER:'text' bytes, NUMBER:{...} a message, NUMBER:dDOUBLE a double. */
#pragma once
#include "xds/wire.h"

/* Appends the message; the text must be right (asserted). */
void wiretext(struct sb *out, const char *text);
