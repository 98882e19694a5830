/* base/limits: the table of what others may make us keep (product.md, "Limits"). Filled by conf from the rows of
 * conf/conf.def, read by every floor; a plain value, copied into whoever needs it. Bytes, counts, nanoseconds. */
#pragma once
#include <stdint.h>

struct limits {
	uint32_t streams_per_connection;      /* down; REFUSED_STREAM beyond */
	uint32_t watches_per_connection;      /* of grpc.health.v1, beside them; RESOURCE_EXHAUSTED beyond */
	uint32_t header_bytes, field_count;   /* each list: name + value + 32; cookie crumbs counted */
	uint32_t header_wire_bytes, continuations; /* one header block; connection error beyond */
	uint32_t header_budget;               /* a connection: all header lists that are held; reading pauses */
	uint32_t premature_resets;            /* per second and burst; paced */
	uint32_t control_frames;              /* PING, SETTINGS, PRIORITY per second; paced */
	uint32_t empty_frames;                /* in a row; connection error */
	uint32_t outbound_queue;              /* frames the peer does not read; connection error */
	uint32_t window_down, window_up;      /* per stream */
	uint32_t window_down_conn, window_up_conn;
	uint32_t reader_budget;               /* an app's connection: what its streams' answers may have on their way beyond H2_FIRST_WINDOW each; 0: not bounded */
	uint32_t replay_bytes;                /* a call, held while a retry is possible */
	uint64_t stall_ns; uint32_t stall_bytes; /* queued bytes that move less than stall_bytes in stall_ns: reset */
	uint64_t preface_time_ns, header_time_ns;
	uint32_t connections, connections_per_listener, connections_per_uid;
	uint64_t memory;                      /* 0: the cgroup's, or 256 MiB */
	uint32_t memory_soft_percent, memory_hard_percent;
};
