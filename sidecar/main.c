/* sidecar/main: the program: options, the daemon's outside (signals, log sink, service manager), and what ends it.
 * `call`, `ok`, `fail`, `ready`, `status` and the help texts are in cli*.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "net/versions.h"
#include "sidecar/check_files.h"
#include "sidecar/cli.h"
#include "sidecar/inherited.h"
#include "sidecar/sidecar.h"
#include "sidecar/stderr.h"
#include "sidecar/upgrade.h"
#include "systemd/notify.h"

enum { EXIT_OK, EXIT_FAILED, EXIT_CONF };
enum { LOG_RING = 16384, DRAIN_EXTEND_US = 5000000 /* told each second while calls are left; drain.deadline ends it */ };

/* The daemon's outside. Owner: run_daemon's frame. */
struct daemon {
	struct loop *loop;
	struct log *log;
	struct sidecar *sc;
	struct notify notify;
	struct inherited inherited;
	struct upgrade *upgrade;
	bool reloading;                /* the manager waits for the end of a reload that became an upgrade */
	struct timer watchdog;
	uint64_t watchdog_ns, log_dropped;
	char **paths; size_t npaths;
	int log_fd;
	char *log_file;
};

static const char *env_of(void *ctx, const char *name)
{
	(void)ctx;
	return getenv(name);
}

/* ---- the log's sink: never blocks; what does not fit is dropped and counted ---- */

static void log_sink(void *ctx, enum log_level level, const char *line, size_t n)
{
	(void)level;
	struct daemon *d = ctx;
	if (write(d->log_fd, line, n) < 0) {
		d->log_dropped++;
		if (d->loop)
			stat_inc(&d->loop->stats, STAT_LOG_DROPPED);
	}
}

static uint64_t log_clock(void *ctx)
{
	(void)ctx;
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void log_open(struct daemon *d, const char *file)
{
	if (d->log_fd > STDERR_FILENO)
		close(d->log_fd);
	d->log_fd = -1;
	if (file) {
		d->log_fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640);
		if (d->log_fd < 0)
			fprintf(stderr, "thinmesh: log file '%s': %s; the log goes to stderr\n", file, strerror(errno));
	}
	if (d->log_fd < 0)
		d->log_fd = stderr_open();
}

/* ---- what sidecar asks of its outside ---- */

static struct conf *on_reload(void *ctx, struct err *err)
{
	struct daemon *d = ctx;
	struct conf *c = conf_load(d->paths, d->npaths, env_of, NULL, err);
	if (!c || (!c->log.file && !d->log_file) || (c->log.file && d->log_file && strcmp(c->log.file, d->log_file) == 0))
		return c;
	free(d->log_file);
	d->log_file = c->log.file ? xstrdup(c->log.file) : NULL;
	log_open(d, d->log_file);
	return c;
}

static int on_inherit(void *ctx, const struct addr *at, const char *app)
{
	struct daemon *d = ctx;
	return inherited_take(&d->inherited, at, app);
}

static bool on_inherit_path(void *ctx, const struct addr *at, struct sock_path *ret)
{
	struct daemon *d = ctx;
	return inherited_path(&d->inherited, at, ret);
}

static void say_reloading(struct daemon *d, const char *text)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	notify_reloading(&d->notify, (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000);
	notify_status(&d->notify, "%s", text);
}

static void on_tell(void *ctx, const char *what, const char *text)
{
	struct daemon *d = ctx;
	if (strcmp(what, "READY") == 0) {
		notify_ready(&d->notify);
		notify_status(&d->notify, "ready: %s", text);
		if (d->sc) /* the first READY comes before there is a pointer: run_daemon stores then */
			inherited_store(&d->inherited, d->sc->doors);
	} else if (strcmp(what, "RELOADING") == 0) {
		say_reloading(d, text);
	} else if (strcmp(what, "THAWED") == 0) {
		if (d->watchdog_ns)
			notify_watchdog(&d->notify);
	} else if (strcmp(what, "DRAINING") == 0) {
		notify_status(&d->notify, "%s", text);
		notify_extend_timeout(&d->notify, DRAIN_EXTEND_US);
	} else {
		notify_stopping(&d->notify);
		notify_status(&d->notify, "%s", text);
	}
}

static void on_watchdog(struct timer *t)
{
	struct daemon *d = container_of(t, struct daemon, watchdog);
	notify_watchdog(&d->notify);
	timer_in(d->loop, t, d->watchdog_ns, on_watchdog);
}

static void feed_watchdog(struct daemon *d)
{
	if (d->watchdog_ns)
		timer_in(d->loop, &d->watchdog, d->watchdog_ns, on_watchdog);
}

/* ---- the hot upgrade ---- */

static bool on_lend(void *ctx)
{
	struct daemon *d = ctx;
	return sidecar_lend(d->sc);
}

static void describe_life(void *ctx, const char *app, struct str text)
{
	handover_write_life(ctx, app, text);
}

static void describe_identity(void *ctx, const char *app)
{
	handover_write_identity(ctx, app);
}

static void on_describe(void *ctx, struct upgrade *u, struct sb *out)
{
	struct daemon *d = ctx;
	inherited_describe(&d->inherited, d->sc->doors, u, out);
	sidecar_each_life(d->sc, describe_life, out);
	sidecar_each_identity(d->sc, describe_identity, out);
}

/* The manager listens to its main process alone (NotifyAccess=main): this is the last that it hears of us. */
static void on_served(void *ctx, pid_t pid)
{
	struct daemon *d = ctx;
	notify_main_pid(&d->notify, pid);
	timer_cancel(d->loop, &d->watchdog);
	d->reloading = false;
	sidecar_leave(d->sc);
}

static void on_here(void *ctx)
{
	struct daemon *d = ctx;
	sidecar_followed(d->sc);
}

static void say_ready_again(struct daemon *d, const char *status)
{
	if (d->reloading)
		notify_ready(&d->notify);
	d->reloading = false;
	notify_status(&d->notify, "%s", status);
}

static void on_upgrade_failed(void *ctx)
{
	struct daemon *d = ctx;
	sidecar_take_back(d->sc);
	say_ready_again(d, "ready: the upgrade has failed, this version goes on (see the log)");
}

static void on_successor_died(void *ctx)
{
	struct daemon *d = ctx;
	notify_main_pid(&d->notify, getpid());
	sidecar_take_back(d->sc);
	feed_watchdog(d);
	say_ready_again(d, "ready: the new process has died, the old one serves again (see the log)");
}

static void on_successor_bye(void *ctx)
{
	struct daemon *d = ctx;
	uds_doors_let_go(d->sc->doors);
}

static void on_said(void *ctx, const char *app, struct str text)
{
	struct daemon *d = ctx;
	upgrade_say_life(d->upgrade, app, text);
}

static void on_said_before(void *ctx, const char *app, const char *text)
{
	struct daemon *d = ctx;
	if (d->sc)
		sidecar_restore_life(d->sc, app, str_of(text));
}

/* Keys are not handed over: each process gets its own. While an agent or a CA is away the one that has them serves on. */
static bool on_able(void *ctx)
{
	struct daemon *d = ctx;
	const struct handover *h = upgrade_handed(d->upgrade);
	for (uint32_t i = 0; h && i < h->nidentities; i++)
		if (!sidecar_is_who_it_was(d->sc, h->identities[i]))
			return false;
	return true;
}

static bool on_prepared(void *ctx)
{
	struct daemon *d = ctx;
	return sidecar_is_prepared(d->sc);
}

static void on_go(void *ctx, bool alone)
{
	struct daemon *d = ctx;
	if (alone)
		notify_main_pid(&d->notify, getpid());
	sidecar_go(d->sc);
	inherited_close_rest(&d->inherited);
	feed_watchdog(d);
}

static int begin_upgrade(struct daemon *d)
{
	return upgrade_begin(d->upgrade, d->sc->conf->drain.takeover_ns);
}

static void on_hangup(struct daemon *d)
{
	if (upgrade_is_under_way(d->upgrade)) {
		log_info(d->log, "SIGHUP: an upgrade is under way; its process reads the configuration");
		return;
	}
	if (!d->sc->draining && !d->sc->left && upgrade_binary_is_new(d->upgrade)) {
		log_info(d->log, "SIGHUP: another program lies where this one was started from: hot upgrade");
		if (begin_upgrade(d) == 0) {
			d->reloading = true;
			say_reloading(d, "starting the new program");
			return;
		}
	}
	log_info(d->log, "SIGHUP: reload");
	sidecar_reload(d->sc);
}

static void on_signal(void *user, int signo)
{
	struct daemon *d = user;
	switch (signo) {
	case SIGHUP:
		on_hangup(d);
		break;
	case SIGUSR1:
		log_open(d, d->log_file);
		sidecar_reopen_logs(d->sc);
		break;
	case SIGUSR2:
		if (d->sc->draining)
			log_info(d->log, "SIGUSR2: ignored, the daemon is going");
		else
			begin_upgrade(d);
		break;
	default:
		upgrade_abort(d->upgrade);
		if (inherited_is_stored(&d->inherited))
			uds_doors_keep_files(d->sc->doors);
		sidecar_stop(d->sc);
		break;
	}
}

/* ---- run ---- */

static const char *on_env(void *ctx, const char *name)
{
	(void)ctx;
	return getenv(name);
}

static bool on_env_each(void *ctx, uint32_t i, struct str *ret_name, struct str *ret_value)
{
	(void)ctx;
	for (uint32_t k = 0; k < i; k++)
		if (!environ[k])
			return false;
	if (!environ[i])
		return false;
	struct str all = str_of(environ[i]);
	ptrdiff_t equals = str_find(all, '=');
	*ret_name = equals < 0 ? all : str_cut(all, 0, (size_t)equals);
	*ret_value = equals < 0 ? STR("") : str_cut(all, (size_t)equals + 1, all.n);
	return true;
}

static void raise_descriptors(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max > 65536 ? 65536 : r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void daemon_environment(struct daemon *d)
{
	if (notify_open(&d->notify, getenv("NOTIFY_SOCKET")) != 0)
		log_warn(d->log, "NOTIFY_SOCKET '%s' can't be used", getenv("NOTIFY_SOCKET"));
	uint64_t us = 0;
	if (notify_watchdog_interval(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"), getpid(), &us) == 0)
		d->watchdog_ns = us * 1000;
	inherited_open(&d->inherited, d->log, &d->notify, upgrade_handed(d->upgrade));
}

static void serve_from_the_start(struct daemon *d)
{
	inherited_close_rest(&d->inherited);
	inherited_store(&d->inherited, d->sc->doors);
	feed_watchdog(d);
}

/* What apps have said before us counts; that they are served, upgrade says (on_go). */
static void take_over(struct daemon *d, const struct handover *h)
{
	for (uint32_t i = 0; i < h->nlives; i++)
		if (!sidecar_restore_life(d->sc, h->lives[i].app, str_of(h->lives[i].text)))
			log_info(d->log, "app '%s': what was handed over of its life is not wanted, or not understood", h->lives[i].app);
	upgrade_prepare(d->upgrade);
}

static int run_daemon(char **argv, char **paths, size_t npaths)
{
	struct err err = ERR_INIT;
	struct conf *conf = conf_load(paths, npaths, env_of, NULL, &err);
	if (!conf) {
		fputs(err_str(&err), stderr);
		err_clear(&err);
		return EXIT_CONF;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file limit is an error of the write, told as one */
	raise_descriptors();
	struct daemon d = {.paths = paths, .npaths = npaths, .log_fd = -1};
	d.log_file = conf->log.file ? xstrdup(conf->log.file) : NULL;
	d.log = log_new(conf->log.level, LOG_RING);
	log_open(&d, d.log_file);
	log_set_clock(d.log, log_clock, NULL);
	log_set_sink(d.log, log_sink, &d);
	d.loop = loop_new_real(d.log);
	if (!d.loop) {
		fprintf(stderr, "thinmesh: the event loop can't be made: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	struct upgrade_spec upgrade = {.loop = d.loop, .log = d.log, .argv = argv, .ctx = &d, .lend = on_lend, .describe = on_describe, .served = on_served, .here = on_here, .failed = on_upgrade_failed,
		.died = on_successor_died, .bye = on_successor_bye, .able = on_able, .prepared = on_prepared, .said = on_said_before, .go = on_go};
	d.upgrade = upgrade_new(&upgrade);
	daemon_environment(&d);
	inherited_claim_names(&d.inherited, conf);
	struct sidecar_spec spec = {.loop = d.loop, .log = d.log, .conf = conf, .reload = on_reload, .inherit = on_inherit, .inherit_path = on_inherit_path, .said = on_said,
		.takeover = upgrade_handed(d.upgrade), .tell = on_tell, .env = on_env,
		.env_each = on_env_each, .ctx = &d};
	/* Before anybody can know that we are there: the first SIGHUP or SIGTERM may come in the moment after READY=1. They are told by the loop, so d.sc
	 * is set by then. */
	static const int signals[] = {SIGHUP, SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		loop_signal(d.loop, signals[i], on_signal, &d);
	int rc = sidecar_new(&spec, &d.sc, &err);
	if (rc != 0) {
		fputs(err_str(&err), stderr);
		notify_errno(&d.notify, EADDRINUSE);
	} else {
		if (upgrade_handed(d.upgrade))
			take_over(&d, upgrade_handed(d.upgrade));
		else
			serve_from_the_start(&d);
		loop_run(d.loop);
		timer_cancel(d.loop, &d.watchdog);
		log_info(d.log, "ended");
	}
	err_clear(&err);
	sidecar_free(&d.sc);
	upgrade_free(&d.upgrade);
	inherited_end(&d.inherited);
	notify_close(&d.notify);
	loop_free(&d.loop);
	log_free(&d.log);
	free(d.log_file);
	return rc == 0 ? EXIT_OK : EXIT_FAILED;
}

static int check_conf(char **paths, size_t npaths)
{
	struct err err = ERR_INIT;
	struct conf *c = conf_load(paths, npaths, env_of, NULL, &err);
	struct sb warnings = {0};
	if (c)
		check_files(c, (int64_t)time(NULL), &err, &warnings);
	int rc = c && !err_any(&err) ? EXIT_OK : EXIT_CONF;
	fwrite(warnings.p ? warnings.p : "", 1, warnings.n, stderr);
	if (rc == EXIT_OK)
		printf("ok: %u apps, %u services\n", c->napps, c->nservices);
	else
		fputs(err_str(&err), stderr);
	sb_end(&warnings);
	conf_unref(&c);
	err_clear(&err);
	return rc;
}

static int usage(const char *command)
{
	cli_help(stderr, command);
	return EXIT_CONF;
}

/* -c FILE|DIR, repeated. Paths point into argv. */
static int conf_options(int argc, char **argv, char **paths, size_t *n)
{
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
			paths[(*n)++] = argv[++i];
		else if (strncmp(argv[i], "-c", 2) == 0 && argv[i][2])
			paths[(*n)++] = argv[i] + 2;
		else
			return -EINVAL;
	}
	return 0;
}

static int print_conf(void)
{
	struct sb b = {0};
	conf_print_defaults(&b);
	fwrite(b.p, 1, b.n, stdout);
	sb_end(&b);
	return EXIT_OK;
}

#ifndef TM_BUILD
#define TM_BUILD ""
#endif

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage(NULL);
	const char *command = argv[1];
	if (strcmp(command, "-V") == 0 || strcmp(command, "--version") == 0) {
		char libraries[NET_VERSIONS];
		printf("thinmesh %s %s\n%s\n", TM_VERSION, TM_BUILD, net_versions(libraries));
		return EXIT_OK;
	}
	if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0 || strcmp(command, "help") == 0) {
		cli_help(stdout, argc > 2 ? argv[2] : NULL);
		return EXIT_OK;
	}
	if (strcmp(command, "--print-conf") == 0)
		return print_conf();
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0) {
			cli_help(stdout, command);
			return EXIT_OK;
		}
	bool run = strcmp(command, "run") == 0, check = strcmp(command, "check") == 0;
	if (!run && !check) {
		int rc = cli_main(command, argc - 1, argv + 1);
		return rc < 0 ? usage(NULL) : rc;
	}
	char **paths = xalloc((size_t)argc * sizeof *paths);
	size_t n = 0;
	if (conf_options(argc - 2, argv + 2, paths, &n) != 0 || (check && n == 0)) {
		free(paths);
		return usage(command);
	}
	int rc = run ? run_daemon(argv, paths, n) : check_conf(paths, n);
	free(paths);
	return rc;
}
