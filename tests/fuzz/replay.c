/*
 * Runs one fuzz target over the files of its corpus, for `make test`: what fuzzing has found once stays found.
 *
 * Linked in place of libFuzzer's main, so gcc is enough. The files go through in a child; where one kills it (crash, sanitizer,
 * more than LIMIT_S), the parent names that file, counts it as failed and starts a new child behind it. The child tells its
 * progress through a shared page, the only thing that outlives it.
 *
 * The last line is for tests/run: "@fuzz N passed, N failed".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* libFuzzer's own limit in `make fuzz` is as long. */
#define LIMIT_S 10

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct corpus {
	char **paths; /* sorted by name, so that two runs tell the same */
	size_t count;
};

static void die(const char *what, const char *path)
{
	fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
	exit(2);
}

static void corpus_add(struct corpus *corpus, const char *path)
{
	corpus->paths = realloc(corpus->paths, (corpus->count + 1) * sizeof(*corpus->paths));
	if (!corpus->paths || !(corpus->paths[corpus->count] = strdup(path)))
		die("no memory for", path);
	corpus->count++;
}

static void corpus_scan(struct corpus *corpus, const char *path)
{
	struct dirent **names;
	struct stat st;
	int n;

	if (stat(path, &st))
		return; /* a target without a corpus yet */
	if (!S_ISDIR(st.st_mode)) {
		corpus_add(corpus, path);
		return;
	}
	n = scandir(path, &names, NULL, alphasort);
	if (n < 0)
		die("cannot list", path);
	for (int i = 0; i < n; i++) {
		char *file;

		if (names[i]->d_name[0] != '.') {
			if (asprintf(&file, "%s/%s", path, names[i]->d_name) < 0)
				die("no memory for", path);
			corpus_add(corpus, file);
			free(file);
		}
		free(names[i]);
	}
	free(names);
}

static void corpus_free(struct corpus *corpus)
{
	for (size_t i = 0; i < corpus->count; i++)
		free(corpus->paths[i]);
	free(corpus->paths);
}

static void run_file(const char *path)
{
	uint8_t *data;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		die("cannot read", path);
	/* Exactly as long as the file: a read behind the end is seen by AddressSanitizer. */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data || read(fd, data, (size_t)st.st_size) != st.st_size)
		die("cannot read", path);
	close(fd);
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
}

/* What a dead child has died of, on one line. */
static void tell(const char *path, int status)
{
	if (WIFSIGNALED(status))
		printf("%s: signal %d%s\n", path, WTERMSIG(status), WTERMSIG(status) == SIGALRM ? " (too slow)" : "");
	else
		printf("%s: exit code %d\n", path, WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	struct corpus corpus = {0};
	size_t failed = 0;
	volatile size_t *at = mmap(NULL, sizeof(*at), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("cannot map", "a page");
	for (int i = 1; i < argc; i++)
		corpus_scan(&corpus, argv[i]);

	*at = 0;
	while (*at < corpus.count) {
		int status;
		pid_t child;

		fflush(NULL);
		child = fork();
		if (child < 0)
			die("cannot fork for", corpus.paths[*at]);
		if (child == 0) {
			for (; *at < corpus.count; (*at)++) {
				alarm(LIMIT_S);
				run_file(corpus.paths[*at]);
			}
			alarm(0);
			corpus_free(&corpus);
			exit(0);
		}
		while (waitpid(child, &status, 0) < 0)
			if (errno != EINTR)
				die("cannot wait for", "the child");
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			/* Beyond the last file it is the leak check at exit that speaks. */
			tell(*at < corpus.count ? corpus.paths[*at] : "at exit", status);
			failed++;
			if (*at < corpus.count)
				(*at)++;
			else
				break;
		}
	}
	if (failed > corpus.count)
		failed = corpus.count;
	printf("@fuzz %zu passed, %zu failed\n", corpus.count - failed, failed);
	corpus_free(&corpus);
	return failed ? 1 : 0;
}
