/* SPDX-License-Identifier: MIT */
/*
 * Threads that read one page from one instruction each, over and over, while the page is armed and its userfaultfd closed
 * unanswered, over and over: whichever comes first, the read goes on.
 */
#include "test/programs/prog.h"

#define ROUNDS 3000
#define READERS 3

static volatile char *page;
static volatile bool stop;
static uint64_t reads[READERS];

static void *reader(void *arg)
{
	uint64_t *n = arg;

	while (!stop) {
		CHECK(*page == 0);
		__atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

int main(void)
{
	pthread_t t[READERS];

	page = map_pages(1);
	for (int i = 0; i < READERS; i++)
		CHECK(pthread_create(&t[i], NULL, reader, &reads[i]) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);

		CHECK(madvise((void *)page, PAGE, MADV_DONTNEED) == 0);
		arm(fd, (char *)page, 1, UFFDIO_REGISTER_MODE_MISSING);
		CHECK(close(fd) == 0);
	}
	stop = true;
	for (int i = 0; i < READERS; i++) {
		CHECK(pthread_join(t[i], NULL) == 0);
		CHECK(reads[i] > 0);
	}
	return done("close_storm");
}
