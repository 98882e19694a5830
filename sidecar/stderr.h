/* sidecar/stderr: a descriptor of stderr whose writes never wait. */
#pragma once

/* O_NONBLOCK is a property of the open file, which a terminal shares with the shell: so a new description is opened for a pipe,
 * a socket is switched, terminals are left alone, and a file, which never waits, is appended to. STDERR_FILENO itself where there is nothing better: do not close that one. */
int stderr_open(void);
