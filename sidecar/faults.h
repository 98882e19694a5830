/* sidecar/faults: the rows of faults.def as a table. */
#pragma once
#include "net/grpc.h"

enum fault {
	FAULT_NONE,
#define FAULT(id, http, grpc, flag, text) FAULT_##id,
#include "sidecar/faults.def"
#undef FAULT
	FAULT_COUNT
};
struct fault_row { const char *name; int http; int grpc; const char *flag, *text; };
const struct fault_row *fault_row(enum fault f);
