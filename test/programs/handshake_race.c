/* SPDX-License-Identifier: MIT */
/* Two threads shake hands on one userfaultfd with different features: one wins, and the descriptor works as it asked. */
#include "test/programs/prog.h"

#define ROUNDS 3000

static int fd;
static pthread_barrier_t start;
static int result[2];

static void *shake(void *arg)
{
	long i = (long)arg;

	for (int round = 0; round < ROUNDS; round++) {
		struct uffdio_api api = {.api = UFFD_API, .features = i ? 1u << 13 /* WP_UNPOPULATED */ : UFFD_FEATURE_THREAD_ID};

		pthread_barrier_wait(&start);
		result[i] = ioctl(fd, UFFDIO_API, &api);
		pthread_barrier_wait(&start);
	}
	return NULL;
}

int main(void)
{
	struct uffdio_range nowhere = {PAGE * 16, PAGE};
	pthread_t t[2];

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	CHECK(close(fd) == 0);
	CHECK(pthread_barrier_init(&start, NULL, 3) == 0);
	for (long i = 0; i < 2; i++)
		CHECK(pthread_create(&t[i], NULL, shake, (void *)i) == 0);
	for (int round = 0; round < ROUNDS; round++) {
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
		CHECK(fd >= 0);
		pthread_barrier_wait(&start);
		pthread_barrier_wait(&start);
		CHECK((result[0] == 0) != (result[1] == 0));
		CHECK(ioctl(fd, UFFDIO_WAKE, &nowhere) == 0);
		CHECK(close(fd) == 0);
	}
	return done("handshake_race");
}
