/* xds/csr_files: see csr_files.h.
 *
 * No two files change at one moment. All three are complete beside their names first; then they are renamed back to back, the roots first (a reader has the new ones when it meets a peer
 * that was issued by them), the chain last: who watches the certificate, as most do, finds its key there already. What a reader sees in between is a key that does not fit, never half a file. */
#include "xds/csr_files.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 3 };
static const struct { const char *name; mode_t mode; } rows[FILES] = {{"root-cert.pem", 0644}, {"key.pem", 0600}, {"cert-chain.pem", 0644}};

struct csr_files {
	struct offload_job job;
	struct account *account;
	char *path[FILES], *temporary[FILES];
	char *bytes[FILES];
	size_t n[FILES];
	int err;
	const char *what;
	void (*told)(void *user, int err, const char *what);   /* NULL: forgotten */
	void *user;
};

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t r = write(fd, p, n);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0) {
			p += r;
			n -= (size_t)r;
		}
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* The mode is given at creation: at no time may others read the key. */
static int write_one(const struct csr_files *f, int i)
{
	unlink(f->temporary[i]);
	int fd = open(f->temporary[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, rows[i].mode);
	if (fd < 0)
		return -errno;
	int r = write_all(fd, f->bytes[i], f->n[i]);
	if (r == 0 && fchmod(fd, rows[i].mode) < 0) /* whatever the umask took away */
		r = -errno;
	close(fd);
	return r;
}

static void work(struct offload_job *j)
{
	struct csr_files *f = container_of(j, struct csr_files, job);

	for (int i = 0; i < FILES && !f->err; i++)
		if ((f->err = write_one(f, i)) < 0)
			f->what = f->temporary[i];
	for (int i = 0; i < FILES && !f->err; i++)
		if (rename(f->temporary[i], f->path[i]) < 0) {
			f->err = -errno;
			f->what = f->path[i];
		}
	for (int i = 0; i < FILES && f->err; i++)
		unlink(f->temporary[i]);
}

static void files_free(struct csr_files *f)
{
	for (int i = 0; i < FILES; i++) {
		if (f->bytes[i])
			explicit_bzero(f->bytes[i], f->n[i]);
		acct_free(f->account, f->bytes[i]);
		free(f->path[i]);
		free(f->temporary[i]);
	}
	free(f);
}

static void done(struct offload_job *j)
{
	struct csr_files *f = container_of(j, struct csr_files, job);

	if (f->told)
		f->told(f->user, f->err, f->what ? f->what : "");
	files_free(f);
}

struct csr_files *csr_files_write(struct offload *o, struct account *a, const char *folder, struct str chain, struct str key, struct str roots,
	void (*told)(void *user, int err, const char *what), void *user)
{
	const struct str texts[FILES] = {roots, key, chain};
	struct csr_files *f = xnew(struct csr_files);

	f->account = a;
	f->told = told;
	f->user = user;
	for (int i = 0; i < FILES; i++) {
		if (!(f->bytes[i] = acct_alloc(a, texts[i].n + 1))) {
			files_free(f);
			return NULL;
		}
		memcpy(f->bytes[i], texts[i].p, texts[i].n);
		f->n[i] = texts[i].n;
		f->path[i] = xasprintf("%s/%s", folder, rows[i].name);
		f->temporary[i] = xasprintf("%s/.%s.thinmesh", folder, rows[i].name);
	}
	f->job = (struct offload_job){.work = work, .done = done};
	offload_run(o, &f->job);
	return f;
}

void csr_files_forget(struct csr_files **f)
{
	if (*f)
		(*f)->told = NULL;
	*f = NULL;
}
