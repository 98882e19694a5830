/* tests/bench/sessions: how much memory COUNT idle nghttp2 server sessions take that are made as the daemon makes its own, each after the
 * client's preface and SETTINGS: the part of an idle connection that is the library's.
 *
 *	sessions COUNT      prints {"sessions": COUNT, "pss_bytes_each": ..., "malloc_bytes_each": ...}
 */
#include "tests/bench/wire.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long pss_bytes(void)
{
	FILE *f = must(fopen("/proc/self/smaps_rollup", "r"));
	char line[256];
	long kib = 0;

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Pss: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

int main(int argc, char **argv)
{
	static const char first[] = NGHTTP2_CLIENT_MAGIC "\0\0\0\4\0\0\0\0\0"
							 "\0\0\0\4\1\0\0\0\0";
	int count = argc > 1 ? atoi(argv[1]) : 0;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 18},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 32768}, {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}};

	if (count < 1)
		die("usage: sessions COUNT");
	nghttp2_session **all = must(calloc((size_t)count, sizeof(*all)));

	memset(all, 0, (size_t)count * sizeof(*all));
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_option_new(&option);
	nghttp2_option_set_no_closed_streams(option, 1);
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_no_auto_window_update(option, 1);

	long pss = pss_bytes();
	size_t heap = mallinfo2().uordblks + mallinfo2().hblkhd;

	for (int i = 0; i < count; i++) {
		const uint8_t *frame;

		if (nghttp2_session_server_new2(&all[i], callbacks, NULL, option) != 0 ||
		    nghttp2_submit_settings(all[i], NGHTTP2_FLAG_NONE, settings, 4) != 0 ||
		    nghttp2_session_set_local_window_size(all[i], NGHTTP2_FLAG_NONE, 0, 1 << 20) != 0)
			die("no session");
		nghttp2_session_mem_recv(all[i], (const uint8_t *)first, sizeof(first) - 1);
		while (nghttp2_session_mem_send(all[i], &frame) > 0)
			;
	}
	printf("{\"sessions\": %d, \"pss_bytes_each\": %ld, \"malloc_bytes_each\": %zu}\n", count, (pss_bytes() - pss) / count,
		(mallinfo2().uordblks + mallinfo2().hblkhd - heap) / (size_t)count);
	return 0;
}
