/* SPDX-License-Identifier: MIT */
/*
 * stress_random_wp [PAGES [wp|missing|both [SEED]]]
 *
 * wp: each page of a large region is write-protected by a call of its own, in random order, then written in another
 * random order; the monitor resolves page by page. missing: the pages are absent and touched in random order; the
 * monitor fills them one by one. Either way the host's limit on mappings (vm.max_map_count) is passed several times
 * over if a page costs one. Every page must be announced, and every byte be right at the end.
 */
#include "test/live/stress.h"
#include <sys/eventfd.h>

#define WORDS (PAGE / 8)

static size_t pages = 262144;
static uint8_t *base;
static uint32_t *order;
static uint8_t *announced; /* messages for each page, up to 255 */
static uint64_t seed = 1, messages;
static bool missing;
static int fd, done_fd;
static _Atomic uint64_t position;

static uint64_t *word(size_t page, unsigned i)
{
	return (uint64_t *)(base + page * PAGE) + i;
}

static uint64_t pattern(size_t page)
{
	return (page + 1) * 0x9e3779b97f4a7c15ull;
}

static uint64_t mark(size_t page)
{
	return ~pattern(page);
}

/* The word of the page that the toucher writes. */
static unsigned spot(size_t page)
{
	return (pattern(page) >> 40) % WORDS;
}

static void *touch_all(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	for (size_t k = 0; k < pages; k++) {
		size_t page = order[k];
		unsigned other = (spot(page) + 1) % WORDS;

		position = k;
		if (missing && (k & 1)) { /* half of the missing pages are read first */
			uint64_t got = *(volatile uint64_t *)word(page, other);

			if (got != pattern(page))
				fail("page %zu reads %#llx when it was just filled", page, (unsigned long long)got);
		}
		*(volatile uint64_t *)word(page, spot(page)) = mark(page);
	}
	MUST(write(done_fd, &one, 8) == 8);
	return NULL;
}

static void answer(const struct uffd_msg *m, uint64_t *buffer)
{
	uint64_t offset = m->arg.pagefault.address - (uintptr_t)base;
	size_t page = offset / PAGE;
	bool wp = m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP;

	if (m->event != UFFD_EVENT_PAGEFAULT || page >= pages || offset % PAGE || wp == missing)
		fail("a message that makes no sense: event %#x flags %llu address %#llx", m->event,
		     (unsigned long long)m->arg.pagefault.flags, (unsigned long long)m->arg.pagefault.address);
	messages++;
	if (announced[page] < 255)
		announced[page]++;
	if (missing) {
		struct uffdio_copy c = {(uintptr_t)(base + page * PAGE), (uintptr_t)buffer, PAGE, 0, 0};

		for (unsigned i = 0; i < WORDS; i++)
			buffer[i] = pattern(page);
		if (ioctl(fd, UFFDIO_COPY, &c))
			fail("COPY to page %zu: %s", page, strerror(errno));
	} else {
		uffd_protect(fd, base + page * PAGE, PAGE, false);
	}
}

static void serve(void)
{
	static uint64_t buffer[WORDS] __attribute__((aligned(4096)));
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = done_fd, .events = POLLIN}};
	struct uffd_msg m[8];

	for (;;) {
		uint64_t before = position;
		int n = poll(p, 2, STALL_MS);

		MUST(n >= 0);
		if (n == 0 && position == before)
			fail("nothing moved for %d s: the thread is at access %llu (page %u, announced %u times)", STALL_MS / 1000,
			     (unsigned long long)position, order[position], announced[order[position]]);
		if (p[0].revents) {
			ssize_t got = read(fd, m, sizeof(m));

			MUST(got > 0 || errno == EAGAIN);
			for (ssize_t i = 0; i < got / (ssize_t)sizeof(m[0]); i++)
				answer(&m[i], buffer);
		} else if (p[1].revents) {
			return;
		}
	}
}

static void prepare(void)
{
	base = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	MUST(base != MAP_FAILED);
	memset(announced, 0, pages);
	messages = 0;
	position = 0;
	fd = uffd_open(0);
	if (!missing)
		for (size_t page = 0; page < pages; page++)
			for (unsigned i = 0; i < WORDS; i++)
				*word(page, i) = pattern(page);
	uffd_register(fd, base, pages * PAGE, missing ? UFFDIO_REGISTER_MODE_MISSING : UFFDIO_REGISTER_MODE_WP);
	shuffle(order, pages, &seed);
	for (size_t k = 0; !missing && k < pages; k++)
		uffd_protect(fd, base + order[k] * PAGE, PAGE, true);
	shuffle(order, pages, &seed);
}

static void check(void)
{
	size_t silent = 0;

	for (size_t page = 0; page < pages; page++) {
		silent += announced[page] == 0;
		for (unsigned i = 0; i < WORDS; i++) {
			uint64_t want = i == spot(page) ? mark(page) : pattern(page);

			if (*word(page, i) != want)
				fail("page %zu word %u: expected %#llx, got %#llx", page, i, (unsigned long long)want,
				     (unsigned long long)*word(page, i));
		}
	}
	if (silent)
		fail("%zu of %zu pages were never announced", silent, pages);
}

static void run(bool with_missing)
{
	uint64_t begin = now_ms(), touched;
	pthread_t toucher;

	missing = with_missing;
	prepare();
	touched = now_ms();
	MUST(pthread_create(&toucher, NULL, touch_all, NULL) == 0);
	serve();
	pthread_join(toucher, NULL);
	printf("%s: %zu pages, %llu messages, prepared in %llu ms, served in %llu ms\n", missing ? "missing" : "wp", pages,
	       (unsigned long long)messages, (unsigned long long)(touched - begin),
	       (unsigned long long)(now_ms() - touched));
	check();
	MUST(read(done_fd, &(uint64_t){0}, 8) == 8);
	MUST(close(fd) == 0);
	MUST(munmap(base, pages * PAGE) == 0);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[2] : "both";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1)
		pages = strtoull(argv[1], NULL, 0);
	if (argc > 3)
		seed = strtoull(argv[3], NULL, 0);
	if (!pages || !seed || (strcmp(mode, "wp") && strcmp(mode, "missing") && strcmp(mode, "both"))) {
		fprintf(stderr, "usage: stress_random_wp [PAGES [wp|missing|both [SEED]]]\n");
		return 2;
	}
	order = calloc(pages, sizeof(*order));
	announced = calloc(pages, 1);
	done_fd = eventfd(0, EFD_CLOEXEC);
	MUST(order && announced && done_fd >= 0);
	if (strcmp(mode, "missing"))
		run(false);
	if (strcmp(mode, "wp"))
		run(true);
	return 0;
}
