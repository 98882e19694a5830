/* net/sock_path: whose file it is, and what becomes of it. Real files in a folder of our own. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/sock.h"
#include "tests/unit.h"

struct place { char dir[64], path[128], lock[128], why[256]; };

static struct place place_new(void)
{
	struct place p = {.dir = "/tmp/tm-path-XXXXXX"};

	ck_assert_ptr_nonnull(mkdtemp(p.dir));
	snprintf(p.path, sizeof(p.path), "%s/app.sock", p.dir);
	snprintf(p.lock, sizeof(p.lock), "%s/app.sock.lock", p.dir);
	return p;
}

/* The folder must be empty by now: a test that leaves a file fails. */
static void place_end(struct place *p)
{
	ck_assert_int_eq(rmdir(p->dir), 0);
}

static int bind_at(struct place *p, mode_t mode, struct sock_path *ret, int *ret_fd)
{
	return sock_path_bind(p->path, mode, (gid_t)-1, 16, ret, ret_fd, p->why, sizeof(p->why));
}

static bool connects(const char *path)
{
	struct addr a;
	ck_assert_int_eq(addr_unix(str_of(path), &a), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r = connect(fd, &a.sa, a.len);

	close(fd);
	return r == 0;
}

/* A socket file whose listener is gone (listening false) or lives on in the descriptor that is returned. */
static int foreign_socket(const char *path, bool listening)
{
	struct addr a;
	ck_assert_int_eq(addr_unix(str_of(path), &a), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, &a.sa, a.len), 0);
	if (listening)
		ck_assert_int_eq(listen(fd, 4), 0);
	else
		close(fd);
	return fd;
}

START_TEST(the_file_has_exactly_the_mode_asked_for_whatever_the_umask)
{
	static const mode_t modes[] = {0600, 0660, 0666, 0777};

	for (size_t i = 0; i < UNIT_COUNT(modes); i++) {
		struct place p = place_new();
		struct sock_path made;
		struct stat st;
		int fd;
		umask(077);
		ck_assert_int_eq(bind_at(&p, modes[i], &made, &fd), 0);
		ck_assert_int_eq(lstat(p.path, &st), 0);
		ck_assert(S_ISSOCK(st.st_mode));
		ck_assert_uint_eq(st.st_mode & 07777, modes[i]);
		ck_assert(connects(p.path));
		close(fd);
		sock_path_unbind(&made);
		place_end(&p);
	}
}
END_TEST

START_TEST(a_stale_socket_is_taken_over)
{
	struct place p = place_new();
	struct sock_path made;
	int fd;

	foreign_socket(p.path, false);
	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), 0);
	ck_assert(connects(p.path));
	close(fd);
	sock_path_unbind(&made);
	place_end(&p);
}
END_TEST

START_TEST(a_live_socket_of_another_program_is_never_taken)
{
	struct place p = place_new();
	struct sock_path made;
	int fd, theirs = foreign_socket(p.path, true);

	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(p.why, "serves this socket"));
	ck_assert(connects(p.path));
	close(theirs);
	unlink(p.path);
	place_end(&p); /* no lock was left behind */
}
END_TEST

START_TEST(a_second_daemon_is_told_of_the_lock_and_the_first_is_not_disturbed)
{
	struct place p = place_new();
	struct sock_path first, second;
	int fd, none;

	ck_assert_int_eq(bind_at(&p, 0660, &first, &fd), 0);
	ck_assert_int_eq(bind_at(&p, 0660, &second, &none), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(p.why, "app.sock.lock"));
	ck_assert(connects(p.path));
	ck_assert_int_eq(access(p.lock, F_OK), 0);
	close(fd);
	sock_path_unbind(&first);
	place_end(&p);
}
END_TEST

START_TEST(what_a_crash_left_behind_is_no_obstacle)
{
	struct place p = place_new();
	struct sock_path made;
	char left[140];
	int fd;

	snprintf(left, sizeof(left), "%s.new", p.path);
	foreign_socket(p.path, false);
	foreign_socket(left, false);
	close(open(p.lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600)); /* nobody holds it */
	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), 0);
	ck_assert(connects(p.path));
	close(fd);
	sock_path_unbind(&made);
	place_end(&p);
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
	struct place p = place_new();
	struct sock_path made;
	int fd;

	close(open(p.path, O_CREAT | O_RDWR | O_CLOEXEC, 0644));
	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), -EEXIST);
	ck_assert_ptr_nonnull(strstr(p.why, "no socket"));
	ck_assert_int_eq(unlink(p.path), 0);
	/* Nor is a link followed to wherever it points. */
	ck_assert_int_eq(symlink("/dev/null", p.path), 0);
	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), -EEXIST);
	ck_assert_int_eq(unlink(p.path), 0);
	place_end(&p);
}
END_TEST

START_TEST(the_file_is_removed_only_while_it_is_ours)
{
	struct place p = place_new();
	struct sock_path made;
	int fd, theirs;

	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), 0);
	ck_assert_int_eq(unlink(p.path), 0);
	theirs = foreign_socket(p.path, true);
	close(fd);
	sock_path_unbind(&made);
	ck_assert(connects(p.path));
	close(theirs);
	unlink(p.path);
	place_end(&p);
}
END_TEST

START_TEST(a_path_that_is_too_long_is_told_with_its_length_and_the_limit)
{
	struct place p = place_new();
	struct sock_path made;
	int fd, n = snprintf(p.path, sizeof(p.path), "%s/", p.dir);

	memset(p.path + n, 'x', 108 - (size_t)n);
	p.path[108] = '\0';
	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(p.why, "108"));
	ck_assert_ptr_nonnull(strstr(p.why, "107"));
	p.path[107] = '\0'; /* the longest that can be, though not with ".new" behind it */
	ck_assert_msg(bind_at(&p, 0660, &made, &fd) == 0, "%s", p.why);
	ck_assert(connects(p.path));
	close(fd);
	sock_path_unbind(&made);
	place_end(&p);
}
END_TEST

START_TEST(a_directory_that_everybody_may_write_to_is_told_unless_sticky)
{
	struct place p = place_new();
	struct sock_path made;
	int fd;

	chmod(p.dir, 0777);
	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), 0);
	ck_assert_ptr_nonnull(strstr(p.why, "0777"));
	close(fd);
	sock_path_unbind(&made);
	chmod(p.dir, 01777);
	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), 0);
	ck_assert_str_eq(p.why, "");
	close(fd);
	sock_path_unbind(&made);
	place_end(&p);
}
END_TEST

START_TEST(a_missing_directory_is_named)
{
	struct place p = place_new();
	struct sock_path made;
	int fd;

	place_end(&p);
	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), -ENOENT);
	ck_assert_ptr_nonnull(strstr(p.why, p.dir));
}
END_TEST

static uint64_t inode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 ? st.st_ino : 0;
}

START_TEST(a_file_that_we_made_in_another_life_is_ours_again)
{
	struct place p = place_new();
	struct sock_path made, again, none;
	int fd;

	ck_assert_int_eq(bind_at(&p, 0660, &made, &fd), 0);
	uint64_t ino = inode_of(p.path);
	/* While its holder lives, nobody else has it. */
	ck_assert_int_eq(sock_path_adopt(p.path, ino, &none, p.why, sizeof(p.why)), -EADDRINUSE);
	sock_path_forget(&made);
	ck_assert_uint_eq(inode_of(p.path), ino);
	ck_assert_int_eq(access(p.lock, F_OK), 0);
	ck_assert_int_eq(sock_path_adopt(p.path, ino, &again, p.why, sizeof(p.why)), 0);
	ck_assert(connects(p.path));
	sock_path_unbind(&again);
	ck_assert_int_eq(access(p.path, F_OK), -1);
	close(fd);
	place_end(&p); /* no lock was left behind */
}
END_TEST

START_TEST(a_file_that_is_another_one_or_gone_is_not)
{
	struct place p = place_new();
	struct sock_path none;
	int fd;

	ck_assert_int_eq(sock_path_adopt(p.path, 5, &none, p.why, sizeof(p.why)), -ESTALE);
	ck_assert_ptr_nonnull(strstr(p.why, "not there any more"));
	fd = foreign_socket(p.path, true);
	ck_assert_int_eq(sock_path_adopt(p.path, inode_of(p.path) + 1, &none, p.why, sizeof(p.why)), -ESTALE);
	ck_assert(connects(p.path));
	close(fd);
	unlink(p.path);
	close(open(p.path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	ck_assert_int_eq(sock_path_adopt(p.path, 0, &none, p.why, sizeof(p.why)), -ESTALE);
	unlink(p.path);
	place_end(&p);
}
END_TEST

UNIT_SUITE("sock_path", a_file_that_we_made_in_another_life_is_ours_again, a_file_that_is_another_one_or_gone_is_not, the_file_has_exactly_the_mode_asked_for_whatever_the_umask, a_stale_socket_is_taken_over,
	a_live_socket_of_another_program_is_never_taken, a_second_daemon_is_told_of_the_lock_and_the_first_is_not_disturbed,
	what_a_crash_left_behind_is_no_obstacle, a_file_that_is_no_socket_is_left_alone, the_file_is_removed_only_while_it_is_ours,
	a_path_that_is_too_long_is_told_with_its_length_and_the_limit, a_directory_that_everybody_may_write_to_is_told_unless_sticky,
	a_missing_directory_is_named)
