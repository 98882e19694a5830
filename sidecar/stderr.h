/* sidecar/stderr: a descriptor of stderr whose writes never wait. */
#pragma once

/* O_NONBLOCK is a property of the open file, which a terminal shares with the shell: so a new description is opened where that is possible (pipes, files),
 * a socket is switched, and terminals are left alone. STDERR_FILENO itself where there is nothing better: do not close that one. */
int stderr_open(void);
