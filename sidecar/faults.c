/* sidecar/faults: see faults.def. */
#include "sidecar/faults.h"

static const struct fault_row rows[] = {
	{"none", 200, GRPC_OK, "-", ""},
#define FAULT(id, http, grpc, flag, text) {#id, http, grpc, flag, text},
#include "sidecar/faults.def"
#undef FAULT
};

const struct fault_row *fault_row(enum fault f) { return &rows[f]; }
