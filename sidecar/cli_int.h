/* sidecar/cli_int: what the commands share: options, sockets, sentences. For sidecar/cli*.c and their tests.
 *
 * A command is a row of cli.c: its name and a function that gets its own arguments. What goes wrong is one sentence on stderr, "thinmesh COMMAND: ...";
 * stdout has nothing but what was asked for, so that scripts can read it. */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include "base/addr.h"
#include "base/str.h"

enum { CLI_OK = 0, CLI_NO = 1, CLI_USAGE = 2 }; /* exit codes */

/* ---- arguments: options first or mixed with operands; "--" ends them; "-x V", "-xV", "--long V", "--long=V" ---- */

enum { CLI_MAYBE = 2 };
struct cli_option { int code; const char *name; int takes; /* a value: true, false; CLI_MAYBE: only as "--long=V" */ }; /* code: the letter, or beyond CLI_LONG where there is none; name NULL: no long form */
enum { CLI_LONG = 256, CLI_TIMEOUT, CLI_WAIT, CLI_TTL, CLI_PID, CLI_WATCH, CLI_JSON, CLI_ALL, CLI_CERTS };
enum { CLI_END = -1, CLI_OPERAND = -2, CLI_BAD = -3 };
struct cli_args {
	const char *command;  /* borrowed */
	int argc;
	char **argv;          /* borrowed; argv[0] is the command */
	int at;               /* 1 in the beginning */
	bool raw;             /* "--" was seen */
};
/* The next one: an option's code, CLI_OPERAND, CLI_END, or CLI_BAD (told on stderr). options ends with a zero row. */
int cli_next(struct cli_args *a, const struct cli_option *options, const char **ret_value);

/* "thinmesh COMMAND: " and the text, on stderr. cli_usage adds where help is, and returns CLI_USAGE. */
void cli_say(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A value of --timeout or --wait. False: told. */
bool cli_duration(const char *command, const char *option, const char *text, uint64_t *ret_ns);

/* ---- sockets ---- */

/* Where people and SDKs mean one: a path (a relative one too), "@abstract", "unix:/path", "unix:///path", "10.0.0.1:80". False: why is filled. */
bool cli_address(const char *text, struct addr *ret, struct sb *why);
/* What an app's command dials when no -s was given: env (the value of THINMESH_SOCKET, or NULL), else the only socket in dir that is not the control
 * socket. False: why is filled. */
bool cli_find_socket(const char *env, const char *dir, struct sb *ret, struct sb *why);
/* Both with their words on stderr; given NULL: -s was not given. False: told. */
bool cli_app_socket(const char *command, const char *given, struct sb *ret_text, struct addr *ret);
bool cli_control_socket(const char *command, const char *given, struct sb *ret_text, struct addr *ret);

/* Text of others for a terminal: control characters become \xHH, so that nothing a peer says moves the cursor. */
void cli_printable(struct sb *out, struct str text);
/* All of it to stdout, told when that fails (a full disk behind a redirection). */
int cli_print(const char *command, struct str text, int exit_code);

/* ---- the commands: argv[0] is the command, the exit code comes back ---- */

int cli_call(int argc, char **argv);
int cli_ok(int argc, char **argv);
int cli_fail(int argc, char **argv);
int cli_ready(int argc, char **argv);
int cli_status(int argc, char **argv);
