/* A snapshot file from bytes, as a power cut, a disk or a stranger may leave it: opened, read, written to, opened again. Whatever stands in it, no more comes out
 * than was read as sound, and what is put then is there after the next start.
 *
 * The first byte says how: 0 the bytes are the file; otherwise a sound header stands in front, and the checks of its records are made to fit, so that lengths, kinds, tombs
 * and names are reached behind them. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/sim/simnet.h"
#include "xds/archive_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static void write_file(const char *path, const char *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	insist(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	close(fd);
}

/* As archive_file.c has them. */
static void mend(char *p, size_t n, struct str identity)
{
	struct file_head *f = (struct file_head *)p;
	size_t at = sizeof(*f);

	*f = (struct file_head){.magic = "TMSNAP\r\n", .version = 1, .identity_n = (uint32_t)identity.n, .identity = str_hash(identity)};
	f->check = str_hash_seeded(str_n(p, offsetof(struct file_head, check)), CHECK_SEED);
	while (n - at >= sizeof(struct record_head)) {
		struct record_head h;
		uint64_t check;

		memcpy(&h, p + at, sizeof(h));
		h.magic = RECORD_MAGIC;
		h.kind %= KINDS + 1;
		h.name_n %= 300;
		h.body_n %= 70000;
		check = str_hash_seeded(str_n((char *)&h, offsetof(struct record_head, check)), CHECK_SEED);
		if (h.name_n + h.body_n > n - at - sizeof(h))
			break;
		check = str_hash_seeded(str_n(p + at + sizeof(h), h.name_n), check);
		for (size_t i = 0; i < h.body_n; i += CHECK_STEP)
			check = str_hash_seeded(str_n(p + at + sizeof(h) + h.name_n + i, h.body_n - i < CHECK_STEP ? h.body_n - i : CHECK_STEP), check);
		h.check = check;
		memcpy(p + at, &h, sizeof(h));
		at += sizeof(h) + h.name_n + h.body_n;
	}
}

struct seen {
	struct archive *a;
	int kind;
	uint32_t names;
};

static bool see(void *ctx, struct str name, uint64_t hash, size_t n)
{
	struct seen *s = ctx;
	uint64_t has_hash;
	size_t has_n;
	void *body;

	s->names++;
	insist(archive_has(s->a, s->kind, name, &has_hash, &has_n) && has_hash == hash && has_n == n);
	insist(archive_get(s->a, s->kind, name, &body, &has_n) == 0 && has_n == n);
	archive_got(s->a, body, n);
	return true;
}

static uint32_t read_all_of(struct archive *a)
{
	struct seen s = {.a = a};

	for (s.kind = 0; s.kind < KINDS; s.kind++)
		archive_each(a, s.kind, see, &s);
	return s.names;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t front = size && data[0] ? sizeof(struct file_head) : 0, n = size ? size - 1 + front : 0;
	struct simnet *net = simnet_new(1);
	struct account account;
	struct archive_spec spec = {.loop = simnet_loop(net), .offload = offload_new(simnet_loop(net)), .view = "fuzz", .identity = STR("me"),
		.account = &account, .max_bytes = 1 << 20, .files_in_simulation = true, .key_mask = 15};
	char dir[] = "/tmp/thinmesh-fuzz-XXXXXX", path[64], *file = xalloc(n + 1);
	struct archive_info info;
	struct archive *a;
	uint32_t before;

	insist(mkdtemp(dir));
	spec.dir = dir;
	snprintf(path, sizeof(path), "%s/fuzz.snapshot", dir);
	if (size)
		memcpy(file + front, data + 1, size - 1);
	if (front)
		mend(file, n, spec.identity);
	write_file(path, file, n);
	account_init(&account, NULL, "fuzz", 4 << 20);
	a = archive_open(&spec);
	archive_info(a, &info);
	insist(info.on_disk && info.bytes <= (n < sizeof(struct file_head) ? sizeof(struct file_head) : n));
	before = read_all_of(a);
	insist(before == info.records);
	archive_mark(a, 3);
	archive_del(a, 1, STR("a"));
	insist(archive_put(a, 3, STR("new"), 42, "body", 4) == 0);
	archive_sweep(a, 3, NULL, NULL);
	archive_info(a, &info);
	before = info.records;
	archive_free(&a);
	insist(account.used == 0);
	a = archive_open(&spec);
	archive_info(a, &info);
	insist(info.records == before && strcmp(info.state, "loaded") == 0 && read_all_of(a) == before);
	insist(archive_has(a, 3, STR("new"), NULL, NULL));
	archive_free(&a);
	account_end(&account);
	offload_free(&spec.offload);
	simnet_free(&net);
	unlink(path);
	rmdir(dir);
	free(file);
	return 0;
}
