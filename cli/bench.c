/* SPDX-License-Identifier: MIT */
/*
 * faultline bench fault: the kernel's userfaultfd and the engine's, measured with one client binary, alternately, in
 * one process tree. What is printed is a ratio of pairs: two runs that followed each other, in the order kernel,
 * engine, engine, kernel, so that a slow drift of the machine weighs on both.
 *
 * An engine figure is printed only if the engine's own counters account for every fault that the client saw served.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROUNDS 1000u
#define MAX_INNER 8u /* rounds that a client makes in one run */
#define MAX_RESULTS 8u
#define RUN_TIMEOUT "300" /* seconds, for the client */
#define EXIT_NO_UFFD 77

enum side { KERNEL, ENGINE };
enum place { PLACE_ONE, PLACE_APART, PLACE_ALL, NR_PLACES };

static const char *const place_names[NR_PLACES] = {"1", "2", "all"};

struct bench_case {
	const char *name;
	unsigned inner;	 /* rounds in one run of the client */
	unsigned divide; /* a heavy case is repeated less often */
	bool spins;	 /* its monitor never sleeps: meaningless on one CPU */
};

static const struct bench_case cases[] = {
	{"missing-monitor", 1, 1, false},
	{"missing-busy", 1, 1, true},
	{"wp-monitor", 1, 1, false},
	{"wp-busy", 1, 1, true},
	{"sigbus", 1, 1, false},
	{"wp-bulk", 4, 2, false},
	{"wp-bulk-1pct", 4, 2, false},
	{"wp-bulk-unpop", 4, 2, false},
	{"wp-random-1g", 1, 5, false},
	{"register-populated", 3, 2, false},
	{"fork-armed", 2, 2, false},
};

#define NR_CASES (sizeof(cases) / sizeof(cases[0]))

struct bench {
	bool json, quick, progress;
	unsigned rounds;
	const char *only; /* comma-separated names, or NULL */
	bool places[NR_PLACES];
	char self[PATH_MAX], client[PATH_MAX], stats[PATH_MAX];
	cpu_set_t cpus;
	const char *no_kernel; /* why there is no kernel column, or NULL */
	bool failed;
	struct utsname uts;
	char date[32];
};

/* What one run of the client printed about one result. */
struct reading {
	char name[48];
	double ns[MAX_INNER], p99[MAX_INNER];
	unsigned n;
	bool single; /* one operation a round: its p99 is that of the rounds */
};

struct served {
	double ranges, messages, sigbus;
};

struct slot {
	struct reading readings[MAX_RESULTS];
	unsigned n;
	char skip[48], why[96];
	struct served served;
	bool complete; /* it ended as it should */
	int status;
};

/* Everything about one row of the table. */
struct row {
	char name[48];
	unsigned n[2];
	double ns[2][MAX_ROUNDS], p99[2][MAX_ROUNDS * MAX_INNER], ratio[MAX_ROUNDS];
	unsigned n_p99[2], n_ratio;
	bool single;
};

/* ---- figures --------------------------------------------------------------------------------------------------- */

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The value below which a share p of v lies, between neighbours in proportion. Sorts v. */
static double quantile(double *v, unsigned n, double p)
{
	double at = p * (n - 1);
	unsigned i = (unsigned)at;

	qsort(v, n, sizeof(*v), compare_double);
	return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[n - 1];
}

/* ---- the client's lines ---------------------------------------------------------------------------------------- */

static double json_number(const char *line, const char *key)
{
	char quoted[64];
	const char *p;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	p = strstr(line, quoted);
	return p ? strtod(p + strlen(quoted), NULL) : -1;
}

static bool json_string(const char *line, const char *key, char *out, size_t size)
{
	char quoted[64];
	const char *p;
	size_t n;

	snprintf(quoted, sizeof(quoted), "\"%s\":\"", key);
	p = strstr(line, quoted);
	if (!p)
		return false;
	p += strlen(quoted);
	n = strcspn(p, "\"");
	if (n >= size)
		n = size - 1;
	memcpy(out, p, n);
	out[n] = '\0';
	return true;
}

static struct reading *slot_reading(struct slot *s, const char *name)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!strcmp(s->readings[i].name, name))
			return &s->readings[i];
	if (s->n == MAX_RESULTS)
		return NULL;
	strcpy(s->readings[s->n].name, name);
	return &s->readings[s->n++];
}

static void slot_line(struct slot *s, const char *line)
{
	struct reading *r;
	char name[48];

	if (strstr(line, "\"proof\"")) {
		s->served.ranges = json_number(line, "ranges");
		s->served.messages = json_number(line, "missing") + json_number(line, "wp");
		s->served.sigbus = json_number(line, "sigbus");
		s->complete = true;
	} else if (json_string(line, "skip", s->skip, sizeof(s->skip))) {
		json_string(line, "why", s->why, sizeof(s->why));
	} else if (json_string(line, "name", name, sizeof(name))) {
		r = slot_reading(s, name);
		if (!r || r->n == MAX_INNER)
			return;
		r->single = json_number(line, "count") == 1;
		r->p99[r->n] = json_number(line, "p99_ns");
		r->ns[r->n++] = json_number(line, "ns");
	}
}

/* ---- running it ------------------------------------------------------------------------------------------------ */

static int last_cpu(const cpu_set_t *set)
{
	int last = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, set))
			last = cpu;
	return last;
}

/* In the child. The last CPU, because interrupts tend to the first. */
static void child_place(const struct bench *b, enum place place)
{
	cpu_set_t set = b->cpus;

	if (place == PLACE_ONE) {
		CPU_ZERO(&set);
		CPU_SET(last_cpu(&b->cpus), &set);
	}
	if (sched_setaffinity(0, sizeof(set), &set))
		perror("faultline bench: sched_setaffinity");
}

static void child_exec(const struct bench *b, const struct bench_case *c, enum side side, enum place place)
{
	char option[PATH_MAX + 16], inner[16];
	const char *argv[16];
	int n = 0;

	snprintf(option, sizeof(option), "--stats-json=%s", b->stats);
	snprintf(inner, sizeof(inner), "%u", c->inner);
	if (side == ENGINE) {
		argv[n++] = b->self;
		argv[n++] = "run";
		argv[n++] = option;
		argv[n++] = "--";
	}
	argv[n++] = b->client;
	argv[n++] = c->name;
	argv[n++] = "--rounds";
	argv[n++] = inner;
	argv[n++] = "--timeout";
	argv[n++] = RUN_TIMEOUT;
	if (place == PLACE_APART)
		argv[n++] = "--apart";
	argv[n] = NULL;
	child_place(b, place);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	fprintf(stderr, "faultline bench: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void slot_run(const struct bench *b, const struct bench_case *c, enum side side, enum place place,
		     struct slot *s)
{
	char line[512];
	int pipefd[2];
	FILE *f;
	pid_t pid;

	memset(s, 0, sizeof(*s));
	s->status = -1;
	if (truncate(b->stats, 0)) /* the counters of an earlier run must prove nothing */
		return;
	if (pipe2(pipefd, O_CLOEXEC))
		return;
	pid = fork();
	if (!pid) {
		dup2(pipefd[1], STDOUT_FILENO);
		child_exec(b, c, side, place);
	}
	close(pipefd[1]);
	f = fdopen(pipefd[0], "r");
	while (f && fgets(line, sizeof(line), f))
		slot_line(s, line);
	if (f)
		fclose(f);
	if (pid > 0)
		while (waitpid(pid, &s->status, 0) < 0 && errno == EINTR)
			;
}

/* The engine's counters, as `faultline run --stats-json` left them. */
static bool read_stats(const char *path, struct served *out)
{
	char text[8192];
	FILE *f = fopen(path, "r");
	size_t n;

	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	out->ranges = json_number(text, "ranges");
	out->messages = json_number(text, "messages_read");
	out->sigbus = json_number(text, "faults_sigbus");
	return out->ranges >= 0;
}

/* Was it the engine that served what the client saw served? Says so when it was not. */
static bool engine_proved(const struct bench *b, const struct bench_case *c, const struct slot *s)
{
	const struct served *want = &s->served;
	struct served got = {0};

	if (!read_stats(b->stats, &got)) {
		fprintf(stderr, "faultline bench: %s: refused: the engine left no counters\n", c->name);
		return false;
	}
	if (got.ranges > 0 && got.ranges >= want->ranges && got.messages >= want->messages && got.sigbus >= want->sigbus)
		return true;
	fprintf(stderr,
		"faultline bench: %s: refused: the client saw %.0f ranges, %.0f messages and %.0f SIGBUS faults; the engine "
		"counted %.0f, %.0f and %.0f\n",
		c->name, want->ranges, want->messages, want->sigbus, got.ranges, got.messages, got.sigbus);
	return false;
}

static bool slot_good(const struct bench *b, const struct bench_case *c, enum side side, const struct slot *s)
{
	const char *where = side == ENGINE ? "engine" : "kernel";

	if (WIFSIGNALED(s->status) && WTERMSIG(s->status) == SIGALRM) {
		fprintf(stderr, "faultline bench: %s on the %s: no end after %s s: an access was not announced, or not "
			"answered\n", c->name, where, RUN_TIMEOUT);
		return false;
	}
	if (s->status || !s->complete) {
		fprintf(stderr, "faultline bench: %s on the %s failed: %s %d\n", c->name, where,
			WIFSIGNALED(s->status) ? "signal" : "exit status",
			WIFSIGNALED(s->status) ? WTERMSIG(s->status) : WEXITSTATUS(s->status));
		return false;
	}
	return side == KERNEL || engine_proved(b, c, s);
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

static struct row *find_row(struct row *rows, unsigned *n, const char *name)
{
	for (unsigned i = 0; i < *n; i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	if (*n == MAX_RESULTS)
		return NULL;
	memset(&rows[*n], 0, sizeof(rows[*n]));
	strcpy(rows[*n].name, name);
	return &rows[(*n)++];
}

static void rows_add(struct row *rows, unsigned *n, struct slot *s, enum side side)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct reading *r = &s->readings[i];
		struct row *row = find_row(rows, n, r->name);

		if (!row)
			continue;
		row->single = r->single;
		for (unsigned k = 0; k < r->n; k++)
			row->p99[side][row->n_p99[side]++] = r->p99[k];
		row->ns[side][row->n[side]++] = quantile(r->ns, r->n, 0.5);
	}
}

/* After both halves of a pair. */
static void rows_pair(struct row *rows, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct row *r = &rows[i];

		if (r->n[KERNEL] && r->n[KERNEL] == r->n[ENGINE] && r->n_ratio < r->n[KERNEL])
			r->ratio[r->n_ratio++] = r->ns[ENGINE][r->n[ENGINE] - 1] / r->ns[KERNEL][r->n[KERNEL] - 1];
	}
}

/* ---- printing -------------------------------------------------------------------------------------------------- */

static double row_median(struct row *r, enum side side)
{
	return quantile(r->ns[side], r->n[side], 0.5);
}

static double row_p99(struct row *r, enum side side)
{
	return quantile(r->p99[side], r->n_p99[side], r->single ? 0.99 : 0.5);
}

static void print_time(double ns)
{
	if (ns < 1e6)
		printf(" %8.2f us", ns / 1e3);
	else
		printf(" %8.2f ms", ns / 1e6);
}

static void print_side(struct row *r, enum side side)
{
	if (!r->n[side]) {
		printf(" %11s %11s", "-", "-");
		return;
	}
	print_time(row_median(r, side));
	print_time(row_p99(r, side));
}

static void print_row_text(struct row *r, enum place place)
{
	printf("%-30s %4s", r->name, place_names[place]);
	print_side(r, KERNEL);
	print_side(r, ENGINE);
	if (r->n_ratio)
		printf("  %6.3f  %.3f to %.3f", quantile(r->ratio, r->n_ratio, 0.5), quantile(r->ratio, r->n_ratio, 0.25),
		       quantile(r->ratio, r->n_ratio, 0.75));
	putchar('\n');
}

static void print_json_side(struct row *r, enum side side, const char *name)
{
	if (r->n[side])
		printf(",\"%s_ns\":%.0f,\"%s_p99_ns\":%.0f", name, row_median(r, side), name, row_p99(r, side));
	else
		printf(",\"%s_ns\":null,\"%s_p99_ns\":null", name, name);
}

static void print_row_json(const struct bench *b, struct row *r, enum place place)
{
	printf("{\"name\":\"%s\",\"cpus\":\"%s\"", r->name, place_names[place]);
	print_json_side(r, KERNEL, "kernel");
	print_json_side(r, ENGINE, "engine");
	if (r->n_ratio)
		printf(",\"ratio\":%.4f,\"ratio_low\":%.4f,\"ratio_high\":%.4f", quantile(r->ratio, r->n_ratio, 0.5),
		       quantile(r->ratio, r->n_ratio, 0.25), quantile(r->ratio, r->n_ratio, 0.75));
	else
		printf(",\"ratio\":null");
	printf(",\"rounds\":%u,\"host\":\"%s %s %s\",\"host_cpus\":%d,\"date\":\"%s\"}\n", r->n[ENGINE], b->uts.sysname,
	       b->uts.release, b->uts.machine, CPU_COUNT(&b->cpus), b->date);
}

static void print_header(const struct bench *b)
{
	if (b->json)
		return;
	printf("%s %s %s, %d CPUs, %s, %u rounds (heavy cases fewer), each a pair in the order kernel engine engine kernel\n",
	       b->uts.sysname, b->uts.release, b->uts.machine, CPU_COUNT(&b->cpus), b->date, b->rounds);
	if (b->no_kernel)
		printf("no kernel column: %s\n", b->no_kernel);
	printf("%-30s %4s %11s %11s %11s %11s  %6s  %s\n", "case", "cpus", "kernel med.", "p99", "engine med.", "p99",
	       "ratio", "middle half of the ratios");
	fflush(stdout);
}

static void progress(const struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void progress(const struct bench *b, const char *format, ...)
{
	va_list ap;

	if (!b->progress)
		return;
	va_start(ap, format);
	fputs("\r\033[K", stderr);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fflush(stderr);
}

/* ---- the run --------------------------------------------------------------------------------------------------- */

static unsigned case_rounds(const struct bench *b, const struct bench_case *c)
{
	unsigned n = b->rounds / c->divide, least = b->quick ? 1 : 2;

	return n < least ? least : n;
}

/* One half of a pair. False: give the case up. */
static bool run_half(struct bench *b, const struct bench_case *c, enum side side, enum place place, struct row *rows,
		     unsigned *n)
{
	struct slot s;

	if (side == KERNEL && b->no_kernel)
		return true;
	slot_run(b, c, side, place, &s);
	if (!slot_good(b, c, side, &s))
		return false;
	if (*s.skip)
		progress(b, "%s: left out: %s\n", s.skip, s.why);
	rows_add(rows, n, &s, side);
	return true;
}

static void run_case(struct bench *b, const struct bench_case *c, enum place place, struct row *rows)
{
	unsigned n = 0, rounds = case_rounds(b, c);

	for (unsigned i = 0; i < rounds; i++) {
		enum side first = i % 2 ? ENGINE : KERNEL;

		progress(b, "%s, %s CPU(s): %u of %u", c->name, place_names[place], i + 1, rounds);
		if (!run_half(b, c, first, place, rows, &n) || !run_half(b, c, (enum side)!first, place, rows, &n)) {
			b->failed = true;
			progress(b, "%s", "");
			return;
		}
		rows_pair(rows, n);
	}
	progress(b, "%s", "");
	for (unsigned i = 0; i < n; i++) {
		if (b->json)
			print_row_json(b, &rows[i], place);
		else
			print_row_text(&rows[i], place);
	}
	fflush(stdout);
}

/* Is name one of the comma-separated names of list? */
static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strcspn(p, ",") == len && !strncmp(p, name, len))
			return true;
	return false;
}

static void run_all(struct bench *b, struct row *rows)
{
	for (size_t i = 0; i < NR_CASES; i++) {
		if (b->only && !listed(b->only, cases[i].name))
			continue;
		for (enum place place = 0; place < NR_PLACES; place++)
			if (b->places[place] && !(cases[i].spins && place == PLACE_ONE))
				run_case(b, &cases[i], place, rows);
	}
}

/* ---- setting up ------------------------------------------------------------------------------------------------ */

/* Does the kernel let us have a userfaultfd? The client is asked, as it is the client that needs it. */
static void probe_kernel(struct bench *b)
{
	static const struct bench_case probe = {.name = "probe", .inner = 1};
	struct slot s;
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(null, STDERR_FILENO);
	slot_run(b, &probe, KERNEL, PLACE_ALL, &s);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(null);
	if (WIFEXITED(s.status) && WEXITSTATUS(s.status) == EXIT_NO_UFFD)
		b->no_kernel = "this user may not open the kernel's userfaultfd, or this kernel has none with write-protect";
	else if (s.status)
		b->no_kernel = "the client could not be run";
}

static bool find_client(struct bench *b)
{
	const char *env = getenv("FAULTLINE_BENCH_CLIENT");

	if (env) {
		snprintf(b->client, sizeof(b->client), "%s", env);
		return access(b->client, X_OK) == 0;
	}
	return cli_find("bench/fault_client", "fault_client", X_OK, b->client);
}

static int usage(FILE *out)
{
	fputs("usage: faultline bench fault [--rounds N] [--case NAME[,NAME]] [--cpus 1|2|all|both] [--quick] [--json]\n"
	      "\n"
	      "Run one client on the kernel's userfaultfd and on the engine, in turn, and print how the times compare.\n"
	      "\n"
	      "  --rounds N     pairs of runs of each case (20)\n"
	      "  --case NAMES   only these cases\n"
	      "  --cpus 1       everything on one CPU\n"
	      "         2       the faulting thread and the monitor each on a CPU of its own\n"
	      "         all     wherever the scheduler likes\n"
	      "         both    1, then 2 (the default)\n"
	      "  --quick        four rounds\n"
	      "  --json         one JSON object a line\n"
	      "\n"
	      "cases:",
	      out);
	for (size_t i = 0; i < NR_CASES; i++)
		fprintf(out, "%s%s", i % 6 ? " " : i ? "\n       " : " ", cases[i].name);
	fputc('\n', out);
	return out == stdout ? 0 : 2;
}

static bool set_places(struct bench *b, const char *arg)
{
	memset(b->places, 0, sizeof(b->places));
	for (enum place place = 0; place < NR_PLACES; place++)
		b->places[place] = !strcmp(arg, place_names[place]);
	if (!strcmp(arg, "both"))
		b->places[PLACE_ONE] = b->places[PLACE_APART] = true;
	return b->places[PLACE_ONE] || b->places[PLACE_APART] || b->places[PLACE_ALL];
}

static bool known_cases(const char *list)
{
	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		size_t i = 0, len = strcspn(p, ",");

		while (i < NR_CASES && (strlen(cases[i].name) != len || strncmp(cases[i].name, p, len)))
			i++;
		if (i == NR_CASES)
			return false;
	}
	return true;
}

/* The value of --name=value or --name value; NULL: argv[*i] is another option. */
static const char *option_value(int argc, char **argv, int *i, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(argv[*i], name, len))
		return NULL;
	if (argv[*i][len] == '=')
		return argv[*i] + len + 1;
	return !argv[*i][len] && *i + 1 < argc ? argv[++*i] : NULL;
}

static bool parse(struct bench *b, int argc, char **argv)
{
	bool rounds_given = false;

	for (int i = 2; i < argc; i++) {
		const char *v;

		if (!strcmp(argv[i], "--json")) {
			b->json = true;
		} else if (!strcmp(argv[i], "--quick")) {
			b->quick = true;
		} else if ((v = option_value(argc, argv, &i, "--rounds"))) {
			b->rounds = (unsigned)strtoul(v, NULL, 10);
			rounds_given = true;
		} else if ((v = option_value(argc, argv, &i, "--case"))) {
			b->only = v;
		} else if ((v = option_value(argc, argv, &i, "--cpus"))) {
			if (!set_places(b, v))
				return false;
		} else {
			return false;
		}
	}
	if (b->quick && !rounds_given)
		b->rounds = 4;
	return b->rounds >= 1 && b->rounds <= MAX_ROUNDS && known_cases(b->only);
}

static bool set_up(struct bench *b)
{
	ssize_t n = readlink("/proc/self/exe", b->self, sizeof(b->self) - 1);
	const char *tmp = getenv("TMPDIR"), *preload = getenv("LD_PRELOAD");
	time_t now = time(NULL);
	int fd;

	if (preload && strstr(preload, "faultline")) {
		fputs("faultline bench: already running under faultline: the kernel cannot be measured here\n", stderr);
		return false;
	}
	if (n <= 0 || !find_client(b)) {
		fputs("faultline bench: no fault_client beside this program; set FAULTLINE_BENCH_CLIENT\n", stderr);
		return false;
	}
	snprintf(b->stats, sizeof(b->stats), "%s/faultline-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	fd = mkstemp(b->stats);
	if (fd < 0) {
		fprintf(stderr, "faultline bench: %s: %s\n", b->stats, strerror(errno));
		return false;
	}
	close(fd);
	uname(&b->uts);
	strftime(b->date, sizeof(b->date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	b->progress = isatty(STDERR_FILENO);
	return true;
}

/* A place that needs two CPUs is left out, with a word, where there is one. */
static void drop_places(struct bench *b)
{
	sched_getaffinity(0, sizeof(b->cpus), &b->cpus);
	if (CPU_COUNT(&b->cpus) >= 2 || !b->places[PLACE_APART])
		return;
	b->places[PLACE_APART] = false;
	fputs("faultline bench: only one CPU here: --cpus 2 is left out\n", stderr);
}

int cmd_bench(int argc, char **argv)
{
	static struct bench b = {.rounds = 20, .places = {[PLACE_ONE] = true, [PLACE_APART] = true}};
	struct row *rows;

	if (argc > 1 && (!strcmp(argv[argc - 1], "--help") || !strcmp(argv[argc - 1], "-h")))
		return usage(stdout);
	if (argc < 2 || strcmp(argv[1], "fault") || !parse(&b, argc, argv))
		return usage(stderr);
	if (!set_up(&b))
		return 1;
	drop_places(&b);
	rows = calloc(MAX_RESULTS, sizeof(*rows));
	if (!rows)
		return 1;
	probe_kernel(&b);
	print_header(&b);
	/* each case starts with empty rows: find_row clears the ones it takes */
	run_all(&b, rows);
	free(rows);
	unlink(b.stats);
	return b.failed;
}
