/* net/versions: the versions of the libraries below net/, as one line of text for people. */
#pragma once

enum { NET_VERSIONS = 128 };
const char *net_versions(char out[NET_VERSIONS]);
