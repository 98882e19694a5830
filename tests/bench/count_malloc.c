/* tests/bench/count_malloc: counts what a program asks of libc's allocator: LD_PRELOAD it, and name in COUNT_MALLOC a file of at least
 * 64 bytes; it holds, as 8-byte numbers that grow while the program runs: malloc, calloc, realloc, free, bytes asked for.
 * A shared file instead of a report at the end: the reader takes the difference of two moments and so leaves start and warm-up out. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own names of what these stand in front of. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

enum { MALLOC, CALLOC, REALLOC, FREE, BYTES, SLOTS = 8 };

static uint64_t nowhere[SLOTS]; /* until the file is there */
static uint64_t *count = nowhere;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("COUNT_MALLOC");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd >= 0 ? mmap(NULL, sizeof(nowhere), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (fd >= 0)
		close(fd);
	if (p != MAP_FAILED)
		count = p;
}

static void add(int slot, uint64_t n) { __atomic_fetch_add(&count[slot], n, __ATOMIC_RELAXED); }

void *malloc(size_t n)
{
	add(MALLOC, 1);
	add(BYTES, n);
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	add(CALLOC, 1);
	add(BYTES, n * size);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	add(REALLOC, 1);
	add(BYTES, n);
	return __libc_realloc(p, n);
}

void free(void *p)
{
	if (p)
		add(FREE, 1);
	__libc_free(p);
}
