/* net/tls_lib: see the header. dlopen counts, so each context may ask again; NODELETE, because OpenSSL leaves handlers for the end of the process behind. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "net/tls_lib.h"

#define TEXT_OF(x) #x
#define SONAME_OF(version) "libssl.so." TEXT_OF(version)
static const char soname[] = SONAME_OF(OPENSSL_SHLIB_VERSION);

/* POSIX promises that a function's address survives the way through void *, ISO C does not: so it goes by its bytes. */
static bool find(void *handle, const char *name, void *to, struct err *err)
{
	void *at = dlsym(handle, name); /* in libssl, then in libcrypto, which it brought */

	if (!at) {
		err_add(err, NULL, 0, 0, "TLS: %s has no %s", soname, name);
		return false;
	}
	memcpy(to, &at, sizeof(at));
	return true;
}

struct tls_lib *tls_lib_load(struct err *err)
{
	void *handle = dlopen(soname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	struct tls_lib *o;
	bool whole = true;

	if (!handle) {
		err_add(err, NULL, 0, 0, "TLS: OpenSSL cannot be loaded: %s", dlerror());
		return NULL;
	}
	o = xnew(struct tls_lib);
#define F(name) whole = whole && find(handle, #name, &o->name, err);
	TLS_LIB_FUNCTIONS(F)
#undef F
	if (!whole) {
		free(o);
		return NULL;
	}
	return o;
}
