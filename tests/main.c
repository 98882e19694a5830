/*
 * The main() of every unit and flow test program: runs the suite() of the file it is linked with.
 *
 * Each test runs in a child of its own (libcheck's fork mode), so that one that crashes takes no other with it and is told by
 * name; a fork costs less than a millisecond. CK_FORK=no runs them in this process, for gdb.
 *
 * The last line is for tests/run: "@unit N passed, N failed". A program that ends without it has crashed outside of a test.
 *
 * T=word runs only the tests whose name has the word, unless the program's own name has it. libcheck filters by suite and case
 * only, so registration goes through __wrap__tcase_add_test (the linker's --wrap, see the Makefile).
 */
#include "tests/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void __real__tcase_add_test(TCase *tcase, const TTest *test, int raised, int exit_value, int start, int end);
void __wrap__tcase_add_test(TCase *tcase, const TTest *test, int raised, int exit_value, int start, int end);

void __wrap__tcase_add_test(TCase *tcase, const TTest *test, int raised, int exit_value, int start, int end)
{
	const char *word = getenv("T");

	if (!word || !*word || strstr(program_invocation_short_name, word) || strstr(test->name, word))
		__real__tcase_add_test(tcase, test, raised, exit_value, start, end);
}

int main(void)
{
	SRunner *runner;
	int run, failed;

	/* A child inherits what is buffered here: unbuffered, nothing is told twice. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	runner = srunner_create(suite());
	srunner_run_all(runner, getenv("V") ? CK_VERBOSE : CK_NORMAL);
	run = srunner_ntests_run(runner);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	printf("@unit %d passed, %d failed\n", run - failed, failed);
	return failed ? 1 : 0;
}
