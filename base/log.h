/* base/log: what the daemon says to people.
 *
 * One `struct log` a process (or a simulation): a level, a ring of the last records (for /log and crash reports), a sink.
 * The sink is a function that never blocks: sidecar sets one that writes to stderr and drops (and counts) when it
 * would block. Messages name their object: log_warn(l, "cluster 'demo': ...").  Owner: sidecar. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* What the inline checks need; the rest is log.c's own. left_out is what log_every has to tell with the next record. */
struct log { enum log_level level; uint32_t left_out; };
typedef void log_sink_fn(void *ctx, enum log_level level, const char *line, size_t len); /* line ends with '\n' */

struct log *log_new(enum log_level level, size_t ring_bytes); /* ring_bytes 0: no ring */
void log_free(struct log **log);
void log_set_sink(struct log *log, log_sink_fn *sink, void *ctx);
void log_set_clock(struct log *log, uint64_t (*wall_ns)(void *), void *ctx); /* for time stamps; NULL: none are printed */
void log_set_level(struct log *log, enum log_level level);
enum log_level log_get_level(const struct log *log);
enum log_level log_level_parse(const char *name); /* off error warn info debug trace; -1 when unknown */
const char *log_level_name(enum log_level level);
uint64_t log_dropped(const struct log *log);      /* records that log_every suppressed */
size_t log_ring_copy(const struct log *log, char *out, size_t cap); /* the last records, oldest first, whole lines, no NUL; how many bytes */

/* log may be NULL: nothing is said (unit tests of low rooms). */
static inline bool log_on(const struct log *log, enum log_level level) { return log && level <= log->level; }
/* Control bytes of the text are written as \xNN: what a peer sent cannot forge a line. Cut with "..." at LOG_LINE bytes. */
enum { LOG_LINE = 2048 };
void log_write(struct log *log, enum log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define log_at(l, lv, ...) do { if (log_on((l), (lv))) log_write((l), (lv), __VA_ARGS__); else log_pass(l); } while (0)
/* The record that log_every allowed is not said at this level: what was left out must not be told with another one. */
static inline void log_pass(struct log *log)
{
	if (log && log->left_out)
		log->left_out = 0;
}
#define log_error(l, ...) log_at(l, LOG_ERROR, __VA_ARGS__)
#define log_warn(l, ...) log_at(l, LOG_WARN, __VA_ARGS__)
#define log_info(l, ...) log_at(l, LOG_INFO, __VA_ARGS__)
#define log_debug(l, ...) log_at(l, LOG_DEBUG, __VA_ARGS__)

/* A rate limit for what a peer can provoke: true at most `burst` times a `period_ms`; the next allowed record says how
 * many were left out, so the record is to be written right behind it: if (log_every(...)) log_warn(...). One struct a place, owned by the object it speaks of. */
struct log_every { uint64_t window_start_ns; uint32_t said, skipped; };
bool log_every(struct log *log, struct log_every *e, uint64_t now_ns, uint32_t burst, uint32_t period_ms);
