/*
 * systemd/activation: listening sockets that the service manager has opened for us (sd_listen_fds(3)), without libsystemd.
 *
 * One `struct activation` a daemon, owned by the sidecar; it owns each socket until a listener takes it. What is asked for is
 * matched by address first (what the configuration says and the socket unit says agree), then by FileDescriptorName= (the
 * app's name, where the two differ). Address and name are two calls, so that the caller lets every listener look for its own
 * address before any of them takes a socket by name, and none takes what another one names exactly:
 *
 *	activation_parse(&a, getpid(), getenv("LISTEN_PID"), getenv("LISTEN_FDS"), getenv("LISTEN_FDNAMES"), ACTIVATION_FIRST_FD);
 *	for each listener: fd = activation_take_addr(&a, &addr, "app 'shop'");
 *	for each one left: fd = activation_take_name(&a, "shop", addr.sa.sa_family, "app 'shop'");
 *	activation_close_unclaimed(&a, say, ctx);
 *
 * The caller also unsets the three variables: they are not for the daemon's children. On a reload a listener keeps its socket,
 * so the table is needed only once. A socket that is no listening stream is not handed out; it is told with the unclaimed ones.
 *
 * What comes out of the manager's store (notify_store) comes the same way, under the name that activation_store_name gave it:
 * that says the address, because a Unix socket was bound under another path than the one that its file has now.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "base/addr.h"

enum {
	ACTIVATION_FIRST_FD = 3, /* SD_LISTEN_FDS_START */
	ACTIVATION_MAX = 128,    /* sockets; a unit that passes more is a mistake */
	ACTIVATION_NAME = 256,   /* systemd allows 255 characters */
	ACTIVATION_TAKER = 96,
};

struct activation_socket {
	int fd; /* owned; -1 once taken or closed */
	struct addr addr;
	char name[ACTIVATION_NAME];   /* FileDescriptorName=; "unknown" where the manager gave none */
	char taker[ACTIVATION_TAKER]; /* who has it now, for people; "" when nobody */
	bool stored;                  /* it was ours: out of the manager's store */
	uint64_t ino;                 /* of its file then; 0: it has none */
	const char *refused;          /* static text: why it cannot be used; NULL when it can */
};

struct activation {
	struct activation_socket *sockets; /* owned */
	size_t count;
};

/* 0: `a` has what was passed to this process, perhaps nothing. -EINVAL: a malformed variable or names that do not fit the
 * number; -E2BIG: more than ACTIVATION_MAX; -ENOMEM. After an error `a` is empty and no descriptor was touched. The sockets are
 * made close-on-exec and non-blocking. */
int activation_parse(struct activation *a, pid_t self, const char *listen_pid, const char *listen_fds, const char *listen_fdnames,
	int first_fd);

/* The descriptor, which is the caller's from now on, or -ENOENT. family: a name never turns a Unix socket into a TCP one;
 * AF_INET and AF_INET6 count as one, AF_UNSPEC takes any. */
int activation_take_addr(struct activation *a, const struct addr *addr, const char *taker);
int activation_take_name(struct activation *a, const char *name, int family, const char *taker);

/* One that another process of ours hands over: as if the manager had. The descriptor is the table's. 0; -ENOMEM, and it is closed. */
int activation_add(struct activation *a, int fd, const struct addr *addr, const char *name);
/* The one of that address, whether it was taken or not; NULL: none. */
const struct activation_socket *activation_find(const struct activation *a, const struct addr *addr);
/* FDNAME= for a socket of ours; ino: of its file, 0 for none. False: no name is long enough for it. */
bool activation_store_name(char out[ACTIVATION_NAME], const struct addr *addr, uint64_t ino);

/* Closes what nobody has taken and returns how many; told (may be NULL) hears of each one first. A listener that is open
 * and that nobody accepts from would let callers wait for ever. */
size_t activation_close_unclaimed(struct activation *a, void (*told)(void *ctx, const struct activation_socket *s), void *ctx);
void activation_free(struct activation *a); /* closes what is left; `a` may be zeroed or half built */
