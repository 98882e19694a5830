/*
 * systemd/notify: what the daemon tells its service manager, by the datagram protocol of sd_notify(3), without libsystemd.
 *
 * One `struct notify` a daemon, embedded in and owned by the sidecar. Where there is no manager (no NOTIFY_SOCKET) every call
 * does nothing, so callers never ask. Nothing here blocks and nothing here can fail the daemon: a full queue is counted, and
 * the states that the manager waits for (READY, RELOADING, STOPPING) are kept and sent again in front of the next message.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/addr.h"

enum { NOTIFY_MESSAGE_MAX = 512 }; /* a state line and a STATUS= for people; longer texts are cut */

struct notify {
	int fd; /* -1: no manager listens */
	struct addr to;
	uint64_t sent, dropped;
	char owed[NOTIFY_MESSAGE_MAX]; /* the last state that the manager has not got yet; "" when none */
};

/* notify_socket: the value of NOTIFY_SOCKET; NULL and "" mean that nobody listens (0). -EINVAL: neither a path nor @abstract;
 * -EAFNOSUPPORT: a form that we do not speak (vsock:); or socket()'s errno. `n` can be used in every case. */
int notify_open(struct notify *n, const char *notify_socket);
void notify_close(struct notify *n);

void notify_ready(struct notify *n);
/* now_us of CLOCK_MONOTONIC, real even under a virtual clock: the manager compares it with its own. Followed by notify_ready. */
void notify_reloading(struct notify *n, uint64_t now_us);
void notify_stopping(struct notify *n);
void notify_status(struct notify *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void notify_errno(struct notify *n, int error); /* a positive errno; a negated one is understood too */
void notify_watchdog(struct notify *n);
void notify_main_pid(struct notify *n, pid_t pid); /* the service's main process is another one from now on: it alone is listened to */
/* The manager keeps a copy of the descriptor, over our end too, and passes it to the next start (FileDescriptorStoreMax=). False: not sent. */
bool notify_store(struct notify *n, const char *name, int fd);
void notify_unstore(struct notify *n, const char *name);
void notify_extend_timeout(struct notify *n, uint64_t us); /* start-up or drain goes on for that long from now */

/* The manager's watchdog, from WATCHDOG_USEC and WATCHDOG_PID: how long to wait between two notify_watchdog(), half of what is
 * allowed. 0 in *ret_us: none is wanted (of us). -EINVAL: a value that is no number. */
int notify_watchdog_interval(const char *watchdog_usec, const char *watchdog_pid, pid_t self, uint64_t *ret_us);
