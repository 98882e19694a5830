/* sidecar/cli_help: the help of all commands, those of main.c too. One row a command; docs/thinmesh.8 tells the same at length. */
#include "sidecar/cli.h"
#include <string.h>

struct help_row { const char *name, *synopsis, *does, *text; };

static const struct help_row rows[] = {
	{"run", "run [-c FILE|DIR]...", "be the daemon, in the foreground; logs go to stderr",
		"  -c FILE|DIR   a configuration; of a folder, its *.yaml in name order, and it is watched.\n"
		"                May be repeated: apps and services append, a name defined twice is an error.\n"
		"\n"
		"With a control plane (xds:), who asks is taken from GRPC_XDS_BOOTSTRAP, POD_NAME, POD_NAMESPACE,\n"
		"INSTANCE_IP and ISTIO_META_* where the file does not say it; see man 5 thinmesh.yaml.\n"
		"\n"
		"SIGHUP reloads (a broken file changes nothing and is told), SIGTERM drains (a second one ends now),\n"
		"SIGUSR1 reopens log files, SIGUSR2 starts the program on disk anew and hands over to it (so does SIGHUP where\n"
		"that is another one). Exit 2: the configuration is wrong.\n"},
	{"check", "check -c FILE|DIR...", "say what is wrong with a configuration, with places",
		"  -c FILE|DIR   as for run; /dev/stdin: what comes through a pipe\n"
		"\n"
		"Every problem is one line, FILE:LINE:COLUMN: key: what is wrong, what was expected. Certificates, keys and\n"
		"roots that it names are read: one that has ended, or a key of another certificate, is a problem; a file that\n"
		"cannot be read here is a warning. Nothing is opened that would be served or called.\n"
		"Exit 0: it is fine; 2: it is not.\n"},
	{"call", "call [-s SOCKET] [-H 'k: v']... [-d DATA] [--timeout T] AUTHORITY/SERVICE/METHOD", "send one message as a thin SDK would, show what comes back",
		"  -s SOCKET     an app's socket: a path, @name, unix:///path or IP:PORT; see `Sockets`\n"
		"  -H 'k: v'     a header; may be repeated. With a content-type that is not application/grpc, the data\n"
		"                are sent as they are and the HTTP status decides\n"
		"  -d DATA       the message: pairs of hex digits, @FILE, or - for stdin; the 5 bytes that gRPC puts in\n"
		"                front are added. Default: an empty message\n"
		"  --timeout T   for the whole call, told as grpc-timeout too (500ms, 5s, 2m; 0: for ever).\n"
		"                Default: 30s, not told\n"
		"\n"
		"AUTHORITY may be empty: the app's path map or the listener's default decides then. Printed are headers,\n"
		"each message in hex and text, trailers, and the result.\n"
		"Exit 0: grpc-status 0; 1: any other, or no answer; 2: wrong usage.\n"
		"\n"
		"  thinmesh call -d 0a0568656c6c6f demo.default.svc.cluster.local:50051/greet.Greeter/SayHello\n"
		"  thinmesh call -H 'content-type: application/json' -d @hello.json demo/greet.Greeter/SayHello\n"},
	{"ok", "ok [-s SOCKET] [--ttl T] [--pid N | --watch] [--timeout T]", "tell that the app is ready (POST /healthcheck/ok)",
		"  -s SOCKET     the app's socket; see `Sockets`\n"
		"  --ttl T       for so long: it fails by itself unless it is said again in time (100ms to 744h)\n"
		"  --pid N       the app is that process: its end is a fail at once. It must be yours (root: anybody's),\n"
		"                and in the daemon's PID namespace. Processes whose connections carry calls are\n"
		"                watched anyway, this command's own never is\n"
		"  --watch       the same with the process that runs this command (a script that execs the app)\n"
		"  --timeout T   for the answer (5s)\n"
		"\n"
		"For hooks: postStart, ExecStartPost=. Says nothing when all is well.\n"
		"Exit 0: told; 1: not told, and why; 2: wrong usage.\n"
		"\n"
		"  ExecStartPost=/usr/bin/thinmesh ok --pid $MAINPID\n"},
	{"fail", "fail [-s SOCKET] [--wait T] [--timeout T]", "tell that the app goes (POST /healthcheck/fail)",
		"  -s SOCKET     the app's socket; see `Sockets`\n"
		"  --wait T      come back when no call to the app is in flight any more, or after T (up to 1h). Without\n"
		"                inbound: in its configuration: when the mesh has heard of it and drain.announce is over\n"
		"  --timeout T   for the answer (T of --wait, and 5s)\n"
		"\n"
		"For hooks: preStop, ExecStop=, ExecStopPost=. Says nothing when all is well; that T was over first is\n"
		"said on stderr. The app's own calls go on.\n"
		"Exit 0: told; 1: not told, and why; 2: wrong usage.\n"},
	{"ready", "ready [-s CONTROL] [--timeout T]", "exit 0 when the daemon is ready, for probes",
		"  -s CONTROL    the control socket; see `Sockets`\n"
		"  --timeout T   for the answer (5s)\n"
		"\n"
		"Exit 0: ready; 1: starting, draining, or nobody answers.\n"},
	{"status", "status [-s CONTROL] [--watch[=T]] [--all] [--certs] [--json] [--timeout T] [SERVICE]", "apps, services, endpoints and the control plane, as they are now",
		"  -s CONTROL    the control socket; see `Sockets`\n"
		"  --watch[=T]   again and again, every T (2s; 0.5, 500ms): over the page before on a terminal, else one below\n"
		"                the other, each under a line with the time; with calls and errors a second (/S). A daemon\n"
		"                that is not reachable is waited for. Ctrl-C ends it\n"
		"  --all         every endpoint; else at most 1000 of a service, those first that are not well\n"
		"  --certs       certificates and roots instead: whose, from where, until when, and why there is none\n"
		"  --json        the page as the daemon gives it, for programs; with --watch one a line\n"
		"  --timeout T   for the answer (5s)\n"
		"  SERVICE       only services whose name has this word in it\n"
		"\n"
		"Of an app: its state and for how long, calls that are OPEN, calls to it (IN), connections; below it why,\n"
		"who said so last, and what the mesh was told; its identity with where it comes from, how old the\n"
		"certificate is, when it ends and when another is asked for. Of a service: LOAD, the calls that are open,\n"
		"and what is not well: checks that failed, ejections, panic (all are used), not serving (a call would find\n"
		"nobody). Of an endpoint that does not serve: who says so (its check, its answers, its connection, the\n"
		"mesh), and why; where any is encrypted, TLS: plain, tls, mtls (we show a certificate too), its version and\n"
		"who answers.\n"
		"Of the control plane: the stream (idle, connecting, open: nothing heard yet, connected, back-off), names\n"
		"(stale: from the snapshot, not confirmed yet), resources that are there of those that are needed, the last\n"
		"version and refusal of each type, the last error of the stream.\n"
		"Colours are used on a terminal only (never with NO_COLOR set).\n"
		"Exit 0: shown; 1: nobody answers.\n"},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static const char sockets[] =
	"Sockets:\n"
	"  THINMESH_SOCKET   the default of -s for call, ok and fail; without it the only app's socket\n"
	"                    in /run/thinmesh, if there is just one\n"
	"  THINMESH_CONTROL  the default of -s for ready and status; without it /run/thinmesh/control.sock\n";

static void all(FILE *out)
{
	fprintf(out, "thinmesh: a mesh sidecar for thin SDKs\n\nUsage: thinmesh COMMAND [OPTION]...\n\n");
	for (int i = 0; i < ROWS; i++)
		fprintf(out, "  %-14s%s\n", rows[i].name, rows[i].does);
	fprintf(out, "\n  %-14s%s\n  %-14s%s\n  %-14s%s\n\n%s\n", "-V", "version, and how this program was built", "--print-conf",
		"every key of the configuration with its default", "--help", "this; of a command: thinmesh COMMAND --help", sockets);
	fprintf(out, "Manual: man 8 thinmesh, man 5 thinmesh.yaml\n");
}

void cli_help(FILE *out, const char *command)
{
	for (int i = 0; command && i < ROWS; i++)
		if (strcmp(command, rows[i].name) == 0) {
			fprintf(out, "thinmesh %s: %s\n\nUsage: thinmesh %s\n\n%s", rows[i].name, rows[i].does, rows[i].synopsis, rows[i].text);
			if (strstr(rows[i].text, "`Sockets`"))
				fprintf(out, "\n%s", sockets);
			return;
		}
	all(out);
}
