/* SPDX-License-Identifier: MIT */
/*
 * conformance [-v] [--list] [--features=all|anon] [--target=kernel|engine] [FILTER...]
 *
 * Runs each row whose name contains one of the filters in its own child. The child leaves its verdict in a shared page;
 * the parent adds hangs and unexpected deaths.
 */
#include "test/conformance/conform.h"
#include <stdarg.h>
#include <sys/prctl.h>
#include <time.h>

#define ROW_LIMIT_MS 20000
#define EXIT_SKIPPED 77
#define FEATURES_ALL 0x1ffffull

struct target target;
static struct row *rows;
static bool verbose;

static struct report {
	char text[600];
	const char *volatile file;
	volatile int line;
} *report;

struct later {
	const char *rows, *reason;
};

/* Cases of the list that have no row here yet. */
static const struct later later[] = {
	{"10", "WP_ASYNC"},
	{"17b", "WP_ASYNC on a regular file"},
	{"21", "hugetlb"},
	{"31", "a context whose process is gone needs a manager in another process"},
	{"40", "THP; shmem"},
	{"41", "shmem, hugetlb"},
	{"44", "operations from another process come with EVENT_FORK"},
	{"47", "hugetlb"},
	{"49", "hugetlb"},
	{"50-54", "MINOR and CONTINUE"},
	{"60-70", "MOVE"},
	{"85b", "SIGBUS in a fork child needs EVENT_FORK"},
	{"87b", "beyond EOF: shmem"},
	{"89-90", "shmem, MINOR"},
	{"91-108", "events (108 without them is s35_munmap_under_waiter)"},
	{"111", "hugetlb"},
	{"115", "shmem, hugetlb"},
	{"119b", "fork of swapped, huge and shared pages"},
	{"120-121", "EVENT_FORK"},
	{"122", "pinned pages need io_uring or gup_test"},
	{"123-124", "swap, shmem, hugetlb"},
	{"127-129", "THP, shmem, KSM"},
	{"130", "an alias needs shared memory"},
	{"132", "shmem"},
	{"134-146", "WP_ASYNC, pagemap, PAGEMAP_SCAN"},
	{"147-150", "engine-level races: the simulated machine"},
	{"152-153", "MOVE, pins, swap"},
	{"59, 154", "test/live/stress_faults"},
};

void row_add(struct row *r)
{
	struct row **at = &rows;

	while (*at && strcmp((*at)->name, r->name) < 0)
		at = &(*at)->next;
	r->next = *at;
	*at = r;
}

/* ---- the child's side -------------------------------------------------------------------------------------------- */

static const char *base_name(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash ? slash + 1 : file;
}

void check_failed(const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(report->text, sizeof(report->text), "%s:%d: ", base_name(file), line);

	va_start(ap, fmt);
	vsnprintf(report->text + n, sizeof(report->text) - n, fmt, ap);
	va_end(ap);
	_exit(1);
}

void check_passed(const char *file, int line)
{
	report->file = file;
	report->line = line;
}

void row_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(report->text, sizeof(report->text), fmt, ap);
	va_end(ap);
	_exit(EXIT_SKIPPED);
}

static void row_child(const struct row *r)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r->fn();
	_exit(0);
}

/* ---- the parent's side ------------------------------------------------------------------------------------------- */

/* Wait status; a child that outlives the limit is killed and reported as a hang. */
static int row_wait(pid_t pid)
{
	struct pollfd p = {.fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	int status = 0;

	if (poll(&p, 1, ROW_LIMIT_MS) == 0) {
		snprintf(report->text, sizeof(report->text), "hangs; the last check that passed was %s:%d",
			 report->file ? base_name(report->file) : "none", report->line);
		kill(pid, SIGKILL);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (p.fd >= 0)
		close(p.fd);
	return status;
}

/* 1 passed, 0 failed, -1 skipped */
static int row_run(const struct row *r)
{
	int status;
	pid_t pid;

	memset(report, 0, sizeof(*report));
	pid = fork();
	if (pid == 0)
		row_child(r);
	status = pid < 0 ? 256 : row_wait(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		printf("ok %s\n", r->name);
		return 1;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
		printf("skipped: %s (%s)\n", r->name, report->text);
		return -1;
	}
	if (!report->text[0])
		snprintf(report->text, sizeof(report->text), "died with %s %d; the last check that passed was %s:%d",
			 WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
			 report->file ? base_name(report->file) : "none", report->line);
	printf("FAILED %s: %s\n", r->name, report->text);
	return 0;
}

static bool maps_mention(const char *what)
{
	FILE *f = fopen("/proc/self/maps", "r");
	bool found = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, what) != NULL;
	if (f)
		fclose(f);
	return found;
}

static const char *target_detect(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = uffd_create(O_CLOEXEC);

	target.kernel_faults = fd >= 0;
	if (fd < 0)
		fd = uffd_create(O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		return "no userfaultfd can be created";
	if (ioctl(fd, UFFDIO_API, &api))
		return "the handshake fails";
	close(fd);
	target.features = api.features;
	target.engine = maps_mention("libfaultline");
	return NULL;
}

static bool wanted(const struct row *r, char **filters, int n)
{
	for (int i = 0; i < n; i++)
		if (strstr(r->name, filters[i]))
			return true;
	return n == 0;
}

static int run_all(char **filters, int n)
{
	int passed = 0, failed = 0, skipped = 0;

	for (const struct row *r = rows; r; r = r->next) {
		int result;

		if (!wanted(r, filters, n))
			continue;
		result = row_run(r);
		passed += result == 1;
		failed += result == 0;
		skipped += result < 0;
	}
	for (size_t i = 0; verbose && i < sizeof(later) / sizeof(later[0]); i++)
		printf("skipped: row %s (%s)\n", later[i].rows, later[i].reason);
	printf("%d passed, %d failed", passed, failed);
	printf(skipped ? ", %d skipped\n" : "\n", skipped);
	return failed || !passed;
}

static bool option(const char *arg)
{
	if (!strcmp(arg, "-v"))
		verbose = true;
	else if (!strcmp(arg, "--features=all"))
		target.features = FEATURES_ALL;
	else if (!strcmp(arg, "--features=anon"))
		target.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_SIGBUS | UFFD_FEATURE_THREAD_ID |
				  UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_POISON;
	else if (!strcmp(arg, "--target=kernel") || !strcmp(arg, "--target=engine"))
		target.engine = !strcmp(arg, "--target=engine");
	else
		return false;
	return true;
}

static int list_rows(void)
{
	for (const struct row *r = rows; r; r = r->next)
		puts(r->name);
	return 0;
}

int main(int argc, char **argv)
{
	const char *broken;
	int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && !strcmp(argv[1], "--list"))
		return list_rows();
	report = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	broken = report == MAP_FAILED ? "no memory" : target_detect();
	if (broken) {
		fprintf(stderr, "conformance: %s: %s\n", broken, strerror(errno));
		return 2;
	}
	for (i = 1; i < argc && argv[i][0] == '-'; i++)
		if (!option(argv[i])) {
			fprintf(stderr, "usage: conformance [-v] [--list] [--features=all|anon] "
					"[--target=kernel|engine] [FILTER...]\n");
			return 2;
		}
	printf("# %s, features %#llx\n", target.engine ? "engine" : "kernel", (unsigned long long)target.features);
	return run_all(argv + i, argc - i);
}
