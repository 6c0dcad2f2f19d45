/* SPDX-License-Identifier: MIT */
#include "cli/stats.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The engine maps whole pages. */
#define FILE_BYTES (((sizeof(struct fl_stats) + 4095) / 4096) * 4096)

int stats_create(struct stats_file *f)
{
	const char *dir = getenv("TMPDIR");
	void *p;
	int fd;

	dir = dir && *dir ? dir : "/tmp";
	if (snprintf(f->path, sizeof(f->path), "%s/faultline-stats-XXXXXX", dir) >= (int)sizeof(f->path))
		return -ENAMETOOLONG;
	fd = mkstemp(f->path); /* mode 0600: the program runs as the same user */
	if (fd < 0) {
		f->path[0] = 0;
		return -errno;
	}
	p = MAP_FAILED;
	if (ftruncate(fd, FILE_BYTES) == 0)
		p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED) {
		stats_remove(f);
		return -ENOMEM;
	}
	f->counters = p;
	return 0;
}

void stats_remove(struct stats_file *f)
{
	if (f->path[0])
		unlink(f->path);
	f->path[0] = 0;
}

/* ---- every counter by name --------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *label;
	size_t offset;
} fields[] = {
#define F(name, label) {#name, label, offsetof(struct fl_stats, name)}
	F(contexts, "userfaultfds opened"),
	F(ranges, "ranges registered"),
	F(faults_missing, "missing faults"),
	F(faults_wp, "write-protect faults"),
	F(faults_minor, "minor faults"),
	F(faults_sigbus, "faults answered with SIGBUS"),
	F(faults_spurious, "faults without a message"),
	F(pages_copied, "pages copied in"),
	F(pages_zeroed, "zero pages"),
	F(pages_protected, "pages protected"),
	F(pages_resolved, "pages unprotected"),
	F(pages_poisoned, "pages poisoned"),
	F(messages_read, "messages read"),
	F(wakeups, "faulting threads woken"),
	F(evictions, "chunks evicted"),
	F(syscalls_retried, "system calls made again"),
	F(forks, "forks"),
#undef F
};

#define NR_FIELDS (sizeof(fields) / sizeof(fields[0]))

static uint64_t field(const struct fl_stats *s, size_t i)
{
	return *(const uint64_t *)((const char *)s + fields[i].offset);
}

/* ---- latency: bucket i holds [2^i, 2^(i+1)) ns ------------------------------------------------------------------------------ */

static uint64_t latency_count(const struct fl_stats *s)
{
	uint64_t sum = 0;

	for (int i = 0; i < FL_STATS_BUCKETS; i++)
		sum += s->latency_ns[i];
	return sum;
}

/* The bucket that holds the fault of rank n, counted from 1. */
static int latency_bucket(const struct fl_stats *s, uint64_t n)
{
	uint64_t sum = 0;

	for (int i = 0; i < FL_STATS_BUCKETS; i++) {
		sum += s->latency_ns[i];
		if (sum >= n)
			return i;
	}
	return FL_STATS_BUCKETS - 1;
}

/* The rank of the fault that permille of all are not slower than. */
static uint64_t rank(uint64_t total, unsigned permille)
{
	return (total * permille + 999) / 1000;
}

static const char *time_text(char buf[16], uint64_t ns)
{
	double v = (double)ns;
	const char *unit = "ns";

	if (v >= 1e9)
		v /= 1e9, unit = "s";
	else if (v >= 1e6)
		v /= 1e6, unit = "ms";
	else if (v >= 1e3)
		v /= 1e3, unit = "us";
	snprintf(buf, 16, v < 10 ? "%.1f %s" : "%.0f %s", v, unit);
	return buf;
}

static void print_quantile(FILE *out, const struct fl_stats *s, const char *name, uint64_t n)
{
	int b = latency_bucket(s, n);
	char lo[16], hi[16];

	fprintf(out, "  %-8s %s to %s\n", name, time_text(lo, 1ull << b), time_text(hi, 2ull << b));
}

static void print_histogram(FILE *out, const struct fl_stats *s, uint64_t total)
{
	uint64_t most = 1;

	for (int i = 0; i < FL_STATS_BUCKETS; i++)
		if (s->latency_ns[i] > most)
			most = s->latency_ns[i];
	for (int i = latency_bucket(s, 1); i <= latency_bucket(s, total); i++) {
		int bar = (int)((s->latency_ns[i] * 40 + most - 1) / most);
		char lo[16];

		fprintf(out, "  %8s + %10" PRIu64 " %.*s\n", time_text(lo, 1ull << i), s->latency_ns[i], bar,
			"########################################");
	}
}

void stats_print(FILE *out, const struct fl_stats *s)
{
	uint64_t total = latency_count(s);

	if (!s->contexts) {
		fputs("faultline: the program opened no userfaultfd\n", out);
		return;
	}
	fputs("faultline: served by the engine; the kernel's userfaultfd was never called\n", out);
	for (size_t i = 0; i < NR_FIELDS; i++)
		if (field(s, i))
			fprintf(out, "  %-28s %12" PRIu64 "\n", fields[i].label, field(s, i));
	if (!total)
		return;
	fprintf(out, "time from access to retry, %" PRIu64 " faults\n", total);
	print_quantile(out, s, "median", rank(total, 500));
	print_quantile(out, s, "p99", rank(total, 990));
	print_quantile(out, s, "max", total);
	print_histogram(out, s, total);
}

void stats_print_json(FILE *out, const struct fl_stats *s)
{
	fputs("{\"served_by\": \"engine\"", out);
	for (size_t i = 0; i < NR_FIELDS; i++)
		fprintf(out, ", \"%s\": %" PRIu64, fields[i].name, field(s, i));
	fputs(", \"latency_log2_ns\": [", out);
	for (int i = 0; i < FL_STATS_BUCKETS; i++)
		fprintf(out, "%s%" PRIu64, i ? ", " : "", s->latency_ns[i]);
	fputs("]}\n", out);
}
