/* xds/sds over a kernel's socket, from a server in another process: of a key that came by it nothing stays in memory but what OpenSSL computes with, and of that nothing when it is let go of. */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "conf/conf.h"
#include "net/dns.h"
#include "tests/flow/rig_ca.h"
#include "tests/flow/rig_sds.h"
#include "tests/needle.h"
#include "tests/unit.h"
#include "xds/sds.h"

static const char node[] = "\x0a\x06shop-1";

/* Until it is killed. The needle is told when it serves. */
static void serve(const struct addr *at, int tell)
{
	struct loop *l = loop_new_real(NULL);
	struct account account;
	struct needle nd;
	struct sb chain = {0}, key = {0};
	struct authority *a = authority_new("mesh", (int64_t)(l->ops->wall_ns(l->ops_ctx) / 1000000000));

	account_init(&account, NULL, "server", SIZE_MAX);
	struct sds_server *s = sds_server_on(l, &account, at);
	authority_leaf(a, &(struct paper){.sans = "URI:spiffe://a/shop"}, &chain, &key);
	sb_char(&chain, '\0');
	sb_char(&key, '\0');
	if (!s || !needle_of(key.p, &nd))
		_exit(1);
	sds_server_cert(s, "default", chain.p, key.p);
	if (write(tell, &nd, sizeof(nd)) != sizeof(nd))
		_exit(1);
	for (;;)
		loop_turn(l, -1);
}

static pid_t served_elsewhere(const struct addr *at, struct needle *ret)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		serve(at, ends[1]);
	}
	close(ends[1]);
	ck_assert_int_eq(read(ends[0], ret, sizeof(*ret)), sizeof(*ret));
	close(ends[0]);
	return pid;
}

START_TEST(a_key_that_came_by_a_stream_is_wiped_where_it_was_received)
{
#if defined(__SANITIZE_ADDRESS__)
	return; /* it does not let memory be read that is nobody's */
#endif
	char dir[] = "/tmp/thinmesh-wiped-XXXXXX", server[64];
	struct needle nd;
	struct addr at;
	struct limits limits;
	int status;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(server, sizeof(server), "unix:%s/sds.sock", dir);
	ck_assert_int_eq(addr_parse(str_of(server), &at), 0);
	pid_t pid = served_elsewhere(&at, &nd);
	struct loop *l = loop_new_real(NULL);
	struct log *log = log_new(LOG_INFO, 0);
	struct dns *dns = dns_new_table(l, 1);
	struct transports *all = transports_new(l);
	conf_limits_default(&limits);
	struct sds_spec spec = {.loop = l, .log = log, .dns = dns, .limits = &limits, .transports = all, .server = server, .node = node, .node_n = sizeof(node) - 1, .app = "shop"};
	struct sds *sds = sds_new(&spec);
	struct secret *s = sds_get(sds, SECRET_CERT, "default");
	for (int i = 0; i < 2000 && s->state != SECRET_READY; i++)
		loop_turn(l, 5000000);
	ck_assert_int_eq(s->state, SECRET_READY);
	struct needle_found found = needle_look(&nd);
	ck_assert_int_ge(found.as_number, 1); /* it is in use */
	ck_assert_int_eq(found.as_text, 0);
	secret_unref(&s);
	sds_free(&sds);
	for (int i = 0; i < 10; i++)
		loop_turn(l, 0);
	found = needle_look(&nd);
	ck_assert_int_eq(found.as_number, 0);
	ck_assert_int_eq(found.as_text, 0);
	transports_free(&all);
	dns_free(&dns);
	loop_free(&l);
	log_free(&log);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	char command[96];
	snprintf(command, sizeof(command), "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

UNIT_SUITE("sds_wiped", a_key_that_came_by_a_stream_is_wiped_where_it_was_received)
