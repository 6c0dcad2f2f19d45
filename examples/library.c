/* SPDX-License-Identifier: MIT */
/*
 * Faultline as a library: no `faultline run`, no privilege, no kernel support. A file appears in memory and is
 * read from disk page by page, only where it is looked at; what the program changes is known page by page, and the file
 * itself is never touched.
 *
 *	library [FILE]		FILE defaults to this program
 *
 * Every fl_ function takes the arguments of the call whose name it carries: see include/faultline/faultline.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <faultline/faultline.h>

#define PAGE 4096

/* A file that is loaded on demand. */
struct lazy_file {
	int file, uffd;
	int stop[2]; /* a pipe: written to when the loader may end */
	char *memory;
	size_t pages;
	unsigned char *loaded, *modified; /* for each page; written by the loader only */
	pthread_t loader;
};

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "library: %s: %s\n", what, errno ? strerror(errno) : "wrong");
	exit(1);
}

/* Past the end of the file a page reads as zeroes, as it would in a mapping. */
static void read_page(const struct lazy_file *lf, size_t n, char *page)
{
	memset(page, 0, PAGE);
	check(pread(lf->file, page, PAGE, (off_t)(n * PAGE)) >= 0, "pread");
}

/* The page arrives write-protected (MODE_WP), so that its first modification is announced too. */
static void load_page(struct lazy_file *lf, size_t n)
{
	char page[PAGE] __attribute__((aligned(PAGE)));
	struct uffdio_copy copy = {.dst = (uintptr_t)lf->memory + n * PAGE, .src = (uintptr_t)page, .len = PAGE,
				   .mode = UFFDIO_COPY_MODE_WP};

	read_page(lf, n, page);
	lf->loaded[n] = 1; /* before the ioctl, which lets the reader go on */
	if (fl_ioctl(lf->uffd, UFFDIO_COPY, &copy))
		check(errno == EEXIST, "UFFDIO_COPY"); /* another thread asked for the same page */
}

static void allow_write(struct lazy_file *lf, size_t n)
{
	struct uffdio_writeprotect wp = {.range = {(uintptr_t)lf->memory + n * PAGE, PAGE}, .mode = 0};

	lf->modified[n] = 1;
	check(!fl_ioctl(lf->uffd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
}

static void *loader(void *arg)
{
	struct lazy_file *lf = arg;
	struct pollfd fds[2] = {{.fd = lf->uffd, .events = POLLIN}, {.fd = lf->stop[0], .events = POLLIN}};
	struct uffd_msg msg;

	for (;;) {
		size_t n;

		check(fl_poll(fds, 2, -1) > 0, "fl_poll");
		if (fds[1].revents)
			return NULL;
		if (fl_read(lf->uffd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
			continue;
		n = (msg.arg.pagefault.address - (uintptr_t)lf->memory) / PAGE;
		if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
			allow_write(lf, n);
		else
			load_page(lf, n);
	}
}

static void lazy_open(struct lazy_file *lf, const char *path)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};
	struct stat st;

	lf->file = open(path, O_RDONLY | O_CLOEXEC);
	check(lf->file >= 0 && !fstat(lf->file, &st) && st.st_size > 0, path);
	lf->pages = ((size_t)st.st_size + PAGE - 1) / PAGE;
	lf->loaded = calloc(lf->pages, 1);
	lf->modified = calloc(lf->pages, 1);
	check(lf->loaded && lf->modified && !pipe(lf->stop), "preparation");

	lf->memory = fl_mmap(NULL, lf->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(lf->memory != MAP_FAILED, "fl_mmap");
	lf->uffd = fl_userfaultfd(O_CLOEXEC | O_NONBLOCK);
	check(lf->uffd >= 0, "fl_userfaultfd");
	check(!fl_ioctl(lf->uffd, UFFDIO_API, &api), "UFFDIO_API");
	reg.range.start = (uintptr_t)lf->memory;
	reg.range.len = lf->pages * PAGE;
	check(!fl_ioctl(lf->uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER");
	check(!pthread_create(&lf->loader, NULL, loader, lf), "pthread_create");
}

static void lazy_close(struct lazy_file *lf)
{
	check(write(lf->stop[1], "", 1) == 1, "write");
	pthread_join(lf->loader, NULL);
	check(!fl_close(lf->uffd), "fl_close");
	check(!fl_munmap(lf->memory, lf->pages * PAGE), "fl_munmap");
	close(lf->file);
	free(lf->loaded);
	free(lf->modified);
}

static size_t count(const unsigned char *marks, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += marks[i];
	return sum;
}

/* Look at every fourth page and change every sixteenth; then everything must be as the file, but for the changes. */
static void use(struct lazy_file *lf)
{
	char page[PAGE];

	for (size_t n = 0; n < lf->pages; n += 4) {
		read_page(lf, n, page);
		errno = 0;
		check(!memcmp(lf->memory + n * PAGE, page, PAGE), "content of a page");
		if (n % 16 == 0)
			lf->memory[n * PAGE]++;
	}
	errno = 0;
	for (size_t n = 0; n < lf->pages; n++) {
		check(lf->loaded[n] == (n % 4 == 0), "set of loaded pages");
		check(lf->modified[n] == (n % 16 == 0), "set of modified pages");
	}
	read_page(lf, 0, page);
	check(lf->memory[0] == (char)(page[0] + 1), "a modified byte");
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/proc/self/exe", *why = fl_probe();
	struct fl_stats stats;
	struct lazy_file lf;

	if (why) {
		fprintf(stderr, "library: %s\n", why);
		return 1;
	}
	lazy_open(&lf, path);
	use(&lf);
	printf("%zu of %zu pages were read from the file, %zu of them modified\n", count(lf.loaded, lf.pages), lf.pages,
	       count(lf.modified, lf.pages));
	lazy_close(&lf);
	check(!fl_stats_get(&stats, sizeof(stats)), "fl_stats_get");
	printf("faultline %s served %llu missing and %llu write-protect faults\n", fl_version(),
	       (unsigned long long)stats.faults_missing, (unsigned long long)stats.faults_wp);
	return 0;
}
