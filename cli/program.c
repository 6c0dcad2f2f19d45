/* SPDX-License-Identifier: MIT */
/*
 * The shim is loaded by the dynamic linker through LD_PRELOAD. Whatever would make that not happen is found here,
 * because otherwise it would happen silently: the program would run against the kernel, or fail, and nobody would know.
 */
#include "cli/program.h"
#include "cli/cli.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_SCRIPTS 4 /* #! lines in a row, as many as Linux follows */

__attribute__((format(printf, 2, 3))) static int refuse(struct program *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	return CLI_REFUSED;
}

/* ---- finding ---------------------------------------------------------------------------------------------------------- */

/* 0, or why path cannot be executed. */
static int exec_error(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? EISDIR : EACCES;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) ? errno : 0;
}

/* 0, ENOENT, or the error of the last candidate that exists but cannot be executed. */
static int search_path(struct program *p, const char *name)
{
	const char *dir = getenv("PATH");
	int found = ENOENT;

	dir = dir ? dir : "/bin:/usr/bin";
	for (;;) {
		size_t len = strcspn(dir, ":");
		int err, n;

		n = snprintf(p->path, sizeof(p->path), "%.*s%s%s", (int)len, dir, len ? "/" : "", name);
		err = n < (int)sizeof(p->path) ? exec_error(p->path) : ENAMETOOLONG;
		if (!err)
			return 0;
		if (err == EACCES && faccessat(AT_FDCWD, p->path, F_OK, 0) == 0) /* it is there */
			found = EACCES;
		if (!dir[len])
			return found;
		dir += len + 1;
	}
}

int program_find(struct program *p, const char *name)
{
	int err;

	if (strchr(name, '/')) {
		snprintf(p->path, sizeof(p->path), "%s", name);
		err = strlen(name) < sizeof(p->path) ? exec_error(name) : ENAMETOOLONG;
	} else {
		err = *name ? search_path(p, name) : ENOENT;
	}
	if (!err)
		return 0;
	if (err == ENOENT || err == ENOTDIR) {
		refuse(p, "%s: not found; give a path, or a name that is in PATH", name);
		return CLI_NOT_FOUND;
	}
	if (err == EACCES)
		return refuse(p, "%s: not executable; chmod +x it, or check that you may enter its folders", name);
	return refuse(p, "%s: cannot be executed: %s", name, strerror(err));
}

/* ---- privilege: the dynamic linker ignores LD_PRELOAD where the program gains some --------------------------------------- */

static bool gains_nothing_here(int fd)
{
	struct statvfs vfs;

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return true;
	return fstatvfs(fd, &vfs) == 0 && (vfs.f_flag & ST_NOSUID);
}

static int check_privilege(struct program *p, int fd, const struct stat *st)
{
	const char *what = NULL;

	if ((st->st_mode & S_ISUID) && st->st_uid != getuid())
		what = "has its setuid bit set";
	else if ((st->st_mode & S_ISGID) && (st->st_mode & S_IXGRP) && st->st_gid != getgid())
		what = "has its setgid bit set";
	else if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		what = "has file capabilities";
	if (!what || gains_nothing_here(fd))
		return 0;
	return refuse(p,
		      "%s %s, so the dynamic linker ignores LD_PRELOAD; run a copy without it (cp makes one), or run "
		      "faultline as the user it changes to",
		      p->binary, what);
}

/* ---- what kind of file --------------------------------------------------------------------------------------------------- */

/* Where the program header of the wanted type is; false when there is none or the file ends early. */
static bool find_interp(int fd, const Elf64_Ehdr *eh, Elf64_Phdr *out)
{
	for (unsigned i = 0; i < eh->e_phnum; i++) {
		off_t off = (off_t)(eh->e_phoff + (uint64_t)i * eh->e_phentsize);

		if (pread(fd, out, sizeof(*out), off) != sizeof(*out))
			return false;
		if (out->p_type == PT_INTERP)
			return true;
	}
	return false;
}

static int check_linker(struct program *p, int fd, const Elf64_Ehdr *eh)
{
	char interp[256] = "";
	Elf64_Phdr ph;
	size_t len;

	if (!find_interp(fd, eh, &ph))
		return refuse(p,
			      "%s is statically linked, so no library can be loaded before it; use a dynamically linked "
			      "build, or link libfaultline into it",
			      p->binary);
	len = ph.p_filesz < sizeof(interp) - 1 ? ph.p_filesz : sizeof(interp) - 1;
	if (pread(fd, interp, len, (off_t)ph.p_offset) != (ssize_t)len)
		return refuse(p, "%s is truncated: its dynamic linker cannot be read", p->binary);
	if (strstr(interp, "/ld-musl"))
		return refuse(p, "%s is linked with musl; the shim needs the GNU C library: use a build for it", p->binary);
	return 0;
}

static int check_elf(struct program *p, int fd, const Elf64_Ehdr *eh)
{
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_machine != EM_X86_64)
		return refuse(p, "%s is not a 64-bit x86-64 program; use a build for x86-64", p->binary);
	if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return refuse(p, "%s is an ELF file but no program; give the linked executable", p->binary);
	return check_linker(p, fd, eh);
}

/* The interpreter of a script, into p->binary. False when the line names none. */
static bool take_interpreter(struct program *p, char *line)
{
	char *name = line + 2 + strspn(line + 2, " \t"), *end = name + strcspn(name, " \t\r\n");

	*end = 0;
	if (!*name || (size_t)(end - name) >= sizeof(p->binary))
		return false;
	memcpy(p->binary, name, (size_t)(end - name) + 1);
	return true;
}

/* Look at p->binary. 1: it was a script, and p->binary is its interpreter now; else what program_check answers. */
static int check_file(struct program *p)
{
	union {
		Elf64_Ehdr eh;
		char text[256];
	} head;
	struct stat st;
	ssize_t n;
	int fd, ret;

	fd = open(p->binary, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refuse(p, "%s cannot be read (%s), so it cannot be checked; make it readable (chmod +r)", p->binary,
			      strerror(errno));
	memset(&head, 0, sizeof(head));
	n = pread(fd, &head, sizeof(head) - 1, 0);
	if (n > 2 && !memcmp(head.text, "#!", 2))
		ret = take_interpreter(p, head.text) ? 1 : refuse(p, "%s: its #! line names no interpreter", p->binary);
	else if (n < (ssize_t)sizeof(head.eh) || memcmp(head.eh.e_ident, ELFMAG, SELFMAG))
		ret = refuse(p, "%s is not an ELF program; if it is a script, start it with its interpreter: sh %s",
			     p->binary, p->binary);
	else
		ret = fstat(fd, &st) ? CLI_REFUSED : check_privilege(p, fd, &st);
	if (!ret)
		ret = check_elf(p, fd, &head.eh);
	close(fd);
	return ret;
}

int program_check(struct program *p)
{
	memcpy(p->binary, p->path, sizeof(p->binary));
	for (int depth = 0; depth <= MAX_SCRIPTS; depth++) {
		int ret = check_file(p);

		if (ret != 1)
			return ret;
	}
	return refuse(p, "%s: its #! lines name each other without an end", p->path);
}
