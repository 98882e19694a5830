/* sidecar/cli: the small commands beside the daemon: call, ok, fail, ready, status and help. main.c keeps run, check, -V and --print-conf.
 *
 * Each command is one request over one HTTP/2 connection (sidecar/cli_client) and a text about its answer: no configuration is read, nothing is
 * resolved, so a probe costs what a process costs. Exit codes: 0 it is so, 1 it is not (or nobody answered), 2 the command line is wrong. */
#pragma once
#include <stdio.h>

/* Runs `command`, if it is one of the above; argv[0] is the command itself (main passes argc - 1, argv + 1). The exit code, or -1: not one of ours. */
int cli_main(const char *command, int argc, char **argv);
/* command NULL: all of them in short; else that one's own help. One that nobody knows gets the short list. */
void cli_help(FILE *out, const char *command_or_null);
