/* SPDX-License-Identifier: MIT */
/* A monitor that waits with epoll, level- and edge-triggered, added before and after the first message. */
#include "test/programs/prog.h"
#include <sys/epoll.h>

#define N 64

static char *mem;

static void *toucher(void *arg)
{
	(void)arg;
	for (int i = 0; i < N; i++)
		CHECK(mem[i * PAGE] == 'a' + i % 26);
	return NULL;
}

static int epoll_on(int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = 77};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	CHECK(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	return ep;
}

static void serve(int fd, int ep, int nr)
{
	struct epoll_event ev;
	struct uffd_msg msg;

	while (nr > 0) {
		CHECK(epoll_wait(ep, &ev, 1, -1) == 1);
		CHECK(ev.events == EPOLLIN && ev.data.u64 == 77);
		while (read(fd, &msg, sizeof(msg)) == sizeof(msg)) {
			uint64_t i = (msg.arg.pagefault.address - (uintptr_t)mem) / PAGE;

			fill(fd, msg.arg.pagefault.address, 'a' + (int)(i % 26));
			nr--;
		}
		CHECK(errno == EAGAIN);
	}
}

static void round_trip(int fd, uint32_t events, bool late)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct epoll_event ev;
	pthread_t t;
	int ep = late ? -1 : epoll_on(fd, events);

	mem = map_pages(N);
	arm(fd, mem, N, UFFDIO_REGISTER_MODE_MISSING);
	if (!late)
		CHECK(epoll_wait(ep, &ev, 1, 0) == 0);
	CHECK(pthread_create(&t, NULL, toucher, NULL) == 0);
	if (late) { /* the message is there before epoll hears of the descriptor */
		CHECK(poll(&p, 1, -1) == 1);
		ep = epoll_on(fd, events);
	}
	serve(fd, ep, N);
	CHECK(pthread_join(t, NULL) == 0);
	CHECK(epoll_wait(ep, &ev, 1, 0) == 0);
	CHECK(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL) == 0);
	CHECK(munmap(mem, N * PAGE) == 0);
	close(ep);
}

int main(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);

	round_trip(fd, EPOLLIN, false);
	round_trip(fd, EPOLLIN, true);
	round_trip(fd, EPOLLIN | EPOLLET, false);
	round_trip(fd, EPOLLIN | EPOLLET, true);
	return done("epoll");
}
