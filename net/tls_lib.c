/* net/tls_lib: see the header. NODELETE, because OpenSSL leaves handlers for the end of the process behind; so dlopen may be asked again and again. */
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include "base/mem.h"
#include "net/tls.h"
#include "net/tls_lib.h"

#define TEXT_OF(x) #x
#define SONAME_OF(version) "libssl.so." TEXT_OF(version)
static const char soname[] = SONAME_OF(OPENSSL_SHLIB_VERSION);
static const char registered[] = "thinmesh.tls_lib"; /* in OBJ_NAME, under the type that no name of OpenSSL's own has */

/* POSIX promises that a function's address survives the way through void *, ISO C does not: so it goes by its bytes. */
static bool find(void *handle, const char *name, void *to, struct err *err)
{
	void *at = dlsym(handle, name); /* in libssl, then in libcrypto, which it brought */

	if (!at) {
		if (err)
			err_add(err, NULL, 0, 0, "TLS: %s has no %s", soname, name);
		return false;
	}
	memcpy(to, &at, sizeof(at));
	return true;
}

/* OpenSSL wipes the keys that it frees, but not the buffers in which its decoders had them; nor does it wipe tickets or what it read of others. So each small block is wiped when it is freed:
 * a key is never larger (RSA 8192: 4.7 KB), and the buffers of records, which are, are not worth their time. */
enum { WIPE_MAX = 8192 };

static void *wiping_malloc(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return malloc(n);
}

static void wiping_free(void *p, const char *file, int line)
{
	size_t n = p ? malloc_usable_size(p) : 0;

	(void)file, (void)line;
	if (n && n <= WIPE_MAX)
		explicit_bzero(p, n);
	free(p);
}

static void *wiping_realloc(void *p, size_t n, const char *file, int line)
{
	size_t had = p ? malloc_usable_size(p) : 0;
	void *fresh;

	if (n == 0) {
		wiping_free(p, file, line);
		return NULL;
	}
	if (had >= n && had <= 2 * n + 64)
		return p;
	if (!had || had > WIPE_MAX)
		return realloc(p, n);
	fresh = malloc(n);
	if (fresh) {
		memcpy(fresh, p, had < n ? had : n);
		wiping_free(p, file, line);
	}
	return fresh;
}

/* Heeded only before OpenSSL's first allocation: later (another part of the process uses it, too) this changes nothing. */
static void wipe_what_is_freed(void *handle)
{
	__typeof__(CRYPTO_set_mem_functions) *set;

	if (find(handle, "CRYPTO_set_mem_functions", &set, NULL))
		set(wiping_malloc, wiping_realloc, wiping_free);
}

static struct tls_lib *lookup(void *handle)
{
	__typeof__(OBJ_NAME_get) *get;
	const void *at = find(handle, "OBJ_NAME_get", &get, NULL) ? get(registered, OBJ_NAME_TYPE_UNDEF) : NULL;

	return (struct tls_lib *)(uintptr_t)at;
}

struct tls_lib *tls_lib_found(void)
{
	void *handle = dlopen(soname, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD | RTLD_NODELETE);

	return handle ? lookup(handle) : NULL;
}

struct tls_lib *tls_lib_get(struct err *err)
{
	void *handle = dlopen(soname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	struct tls_lib *o;
	bool whole = true;

	if (!handle) {
		err_add(err, NULL, 0, 0, "TLS: OpenSSL cannot be loaded: %s", dlerror());
		return NULL;
	}
	wipe_what_is_freed(handle);
	o = lookup(handle);
	if (o)
		return tls_lib_ref(o);
	o = xnew(struct tls_lib);
	o->refs = 1;
	list_init(&o->csrs);
#define F(name) whole = whole && find(handle, #name, &o->name, err);
	TLS_LIB_FUNCTIONS(F)
#undef F
	if (whole && o->OBJ_NAME_add(registered, OBJ_NAME_TYPE_UNDEF, (const char *)o) == 1)
		return o;
	if (whole)
		err_add(err, NULL, 0, 0, "TLS: OpenSSL has no memory");
	free(o);
	return NULL;
}

void tls_lib_unref(struct tls_lib **at)
{
	struct tls_lib *o = *at;

	*at = NULL;
	if (!o || --o->refs)
		return;
	o->OBJ_NAME_remove(registered, OBJ_NAME_TYPE_UNDEF);
	free(o);
}

void tls_lib_hold_key(struct tls_lib *o)
{
	if (o->keys++)
		return;
	o->dumpable = prctl(PR_GET_DUMPABLE);
	prctl(PR_SET_DUMPABLE, 0);
}

void tls_lib_drop_key(struct tls_lib *o)
{
	if (--o->keys == 0 && o->dumpable == 1) /* 2, readable by root alone, is nothing that a process may give itself */
		prctl(PR_SET_DUMPABLE, 1);
}

struct tls_lib *tls_key_awaited(void)
{
	struct err err = ERR_INIT;
	struct tls_lib *o = tls_lib_get(&err);

	err_clear(&err);
	if (o)
		tls_lib_hold_key(o);
	return o;
}

void tls_key_over(struct tls_lib **at)
{
	if (*at)
		tls_lib_drop_key(*at);
	tls_lib_unref(at);
}
