/* SPDX-License-Identifier: MIT */
/* Memory from malloc, armed, given back by free without a word, and handed out again: armed anew, it faults anew. */
#include "test/programs/prog.h"

#define BYTES (40u << 20) /* above what malloc ever takes from its heap */
#define ROUNDS 6

static int fd;

static void *monitor(void *arg)
{
	struct uffd_msg msg;

	(void)arg;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		CHECK(poll(&p, 1, -1) == 1);
		if (read(fd, &msg, sizeof(msg)) == sizeof(msg))
			fill(fd, msg.arg.pagefault.address & ~(uint64_t)(PAGE - 1), 7);
	}
	return NULL;
}

int main(void)
{
	pthread_t t;

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	CHECK(pthread_create(&t, NULL, monitor, NULL) == 0);
	for (int round = 0; round < ROUNDS; round++) {
		char *block = malloc(BYTES), *p = (char *)(((uintptr_t)block + 2 * PAGE) & ~(uintptr_t)(PAGE - 1));

		CHECK(block);
		arm(fd, p, BYTES / PAGE / 2, UFFDIO_REGISTER_MODE_MISSING);
		for (unsigned i = 0; i < BYTES / 2; i += (round & 1 ? 1 : 37) * PAGE)
			CHECK(((volatile char *)p)[i] == 7);
		free(block);
	}
	CHECK(malloc(BYTES) != NULL);
	CHECK(close(fd) == 0);
	memset(malloc(BYTES), 1, BYTES);
	return done("malloc_reuse");
}
