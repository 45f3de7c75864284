/* Calls of the 32-bit ABI by number, one line each: what they return and write. Built as a 32-bit program, where they go
   through the vdso or by int 0x80, and as a 64-bit one, where int 0x80 makes them too; or of ARM, by svc. Everything that
   the kernel is shown lies in static memory, which is below 4 GiB in each. */
#ifdef __arm__
#include <asm/unistd.h>
#else
#include <asm/unistd_32.h>
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the ABIs differ: how long stat64's structure is and where its inode, and open(2)'s flag for directories. ARM has no
   oldstat, readdir, utime, umount of one argument. */
#ifdef __arm__
#define STAT64 104
#define INODE 96
#define DIRECTORY 040000
#define LARGE 0400000
#else
#define STAT64 96
#define INODE 88
#define DIRECTORY 0200000
#define LARGE 0100000
#endif

#ifdef __arm__
static long call(long n, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e) {
    register long r7 __asm__("r7") = n;
    register uint32_t r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c, r3 __asm__("r3") = d, r4 __asm__("r4") = e;
    __asm__ volatile("svc #0" : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r4), "+r"(r7) :: "memory", "cc");
    if (r1 != b || r2 != c || r3 != d || r4 != e || r7 != n) puts("BAD registers");
    return (long)r0;
}
#elif defined(VDSO)
static long call(long n, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e) {
    long r;
    __asm__ volatile("call *%%gs:0x10" : "=a"(r) : "0"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory", "cc");
    return r;
}
#else
static long call(long n, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e) {
    long r;
#ifdef __x86_64__
    /* Garbage above must not matter, and stays where it is. */
    const uint64_t high = 0x5a5a5a5a00000000;
    uint64_t C = high | b, D = high | c, S = high | d, T = high | e;
    register uint64_t B __asm__("r12") = high | a;
    __asm__ volatile("xchg %%rbx, %%r12; int $0x80; xchg %%rbx, %%r12"
        : "=a"(r), "+c"(C), "+d"(D), "+S"(S), "+D"(T), "+r"(B) : "0"(n) : "memory", "cc", "r8", "r9", "r10", "r11");
    if (B != (high | a) || C != (high | b) || D != (high | c) || S != (high | d) || T != (high | e)) puts("BAD registers");
#else
    __asm__ volatile("int $0x80" : "=a"(r) : "0"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory", "cc");
#endif
    return (int)r;
}
#endif
#define P(x) ((uint32_t)(uintptr_t)(x))
#define CALL(n, ...) CALL_(n, __VA_ARGS__, 0, 0, 0, 0, 0)
#define CALL_(n, a, b, c, d, e, ...) call(__NR_##n, a, b, c, d, e)

static char path[4200], other[4200], buffer[4200], cwd[4200], name[300];
static char *dir;

static char *in(char *to, const char *of) {
    sprintf(to, of[0] == '/' ? "%s%s" : "%s/%s", of[0] == '/' ? "" : dir, of);
    return to;
}

static void say(const char *what, const char *of, long r) { printf("%s %s -> %ld\n", what, of, r); }

/* What was written, but for `skip` bytes at `from` (times of access, free blocks). */
static void dump(const char *what, const char *of, long r, int len, int from, int skip) {
    printf("%s %s -> %ld ", what, of, r);
    for (int i = 0; r >= 0 && i < len; i++)
        if (i < from || i >= from + skip) printf("%02x", (unsigned char)buffer[i]);
    printf("\n");
    memset(buffer, 0xee, sizeof buffer);
}

static const char *files[] = {"f", "d", "d/", "l", "l/", "d/x", "dangling", "none", "none/x", "f/x", ".", "loop", "fifo", "large"};
#define COUNT (sizeof files / sizeof *files)

static void look(void) {
    uint32_t at = call(__NR_open, P(dir), DIRECTORY, 0, 0, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        const char *f = files[i];
        uint32_t p = P(in(path, f));
#ifdef __NR_oldstat
        dump("oldstat", f, CALL(oldstat, p, P(buffer)), 32, 20, 4);
        dump("oldlstat", f, CALL(oldlstat, p, P(buffer)), 32, 20, 4);
#endif
        dump("stat", f, CALL(stat, p, P(buffer)), 64, 32, 8);
        dump("lstat", f, CALL(lstat, p, P(buffer)), 64, 32, 8);
        dump("stat64", f, CALL(stat64, p, P(buffer)), STAT64, STAT64 - 32, 8);
        dump("lstat64", f, CALL(lstat64, p, P(buffer)), STAT64, STAT64 - 32, 8);
        strcpy(other, f);
        dump("fstatat64", f, CALL(fstatat64, at, P(other), P(buffer), 0), STAT64, STAT64 - 32, 8);
        dump("fstatat64 nofollow", f, CALL(fstatat64, at, P(other), P(buffer), 0x100), STAT64, STAT64 - 32, 8);
        /* A mount point says so. */
        if (strcmp(f, ".")) dump("statx", f, CALL(statx, at, P(other), 0x100, 0x7ff, P(buffer)), 144, 64, 16); /* the rest is of the mount */
        say("access", f, CALL(access, p, 4));
        say("faccessat", f, CALL(faccessat, at, P(other), 2));
        dump("readlink", f, CALL(readlink, p, P(buffer), 100), 0, 0, 0);
        say("statfs", f, CALL(statfs, p, P(buffer)));
        say("statfs64", f, CALL(statfs64, p, 84, P(buffer)));
        say("statfs64 short", f, CALL(statfs64, p, 80, P(buffer)));
        say("getxattr", f, CALL(getxattr, p, P("user.none"), P(buffer), 10));
        long fd = CALL(open, p, 04000);
        say("open", f, fd);
        if (fd >= 0) {
#ifdef __NR_oldstat
            dump("oldfstat", f, CALL(oldfstat, fd, P(buffer)), 32, 20, 4);
#endif
            dump("fstat", f, CALL(fstat, fd, P(buffer)), 64, 32, 8);
            dump("fstat64", f, CALL(fstat64, fd, P(buffer)), STAT64, STAT64 - 32, 8);
            CALL(close, fd);
        }
        say("open large", f, CALL(close, CALL(open, p, LARGE | 04000)));
        say("openat", f, CALL(close, CALL(openat, at, P(other), 04000)));
        static struct { uint64_t flags, mode, resolve; } how = {04000, 0, 8};
        say("openat2", f, CALL(close, CALL(openat2, at, P(other), P(&how), 24)));
        long r = CALL(chdir, p);
        say("chdir", f, r);
        r = CALL(getcwd, P(cwd), sizeof cwd);
        printf("getcwd %s\n", r > 0 ? cwd : "?");
        CALL(chdir, P(dir));
        say("inotify", f, CALL(inotify_add_watch, CALL(inotify_init1, 0), p, 0x20) > 0);
        say("execve", f, CALL(execve, p, 0, 0) < 0);
    }
    CALL(close, at);
    dump("uname", "", CALL(uname, P(buffer)), 390, 0, 0);
#ifdef __NR_olduname
    dump("olduname", "", CALL(olduname, P(buffer)), 325, 0, 0);
    dump("oldolduname", "", CALL(oldolduname, P(buffer)), 45, 0, 0);
#endif
}

static void change(void) {
    static uint32_t old[4] = {1000, 2000, 3000, 4000}, bad[4] = {1, 1000000000, 1, 0}, omit[4] = {0, 0x3ffffffe, 0, 0x3ffffffe};
    static uint64_t wide[4] = {5000000000, 7, 6000000000, 8}, wide_bad[4] = {0, 1000000000, 0, 0};
    static const char *names[] = {"new", "d/new", "none/new", "f/new", "d/", "f", "l", "dangling"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        const char *f = names[i];
        uint32_t p = P(in(path, f));
        strcpy(other, f);
        say("chmod", f, CALL(chmod, p, 0700));
#ifdef __NR_utime
        say("utime", f, CALL(utime, p, P(old)));
#endif
        say("utimes", f, CALL(utimes, p, P(old)));
        say("utimes bad", f, CALL(utimes, p, P(bad)));
        say("futimesat", f, CALL(futimesat, -100, p, P(old)));
        say("utimensat", f, CALL(utimensat, -100, p, P(old), 0));
        say("utimensat bad", f, CALL(utimensat, -100, p, P(bad), 0));
        say("utimensat omit", f, CALL(utimensat, -100, p, P(omit), 0));
        say("utimensat_time64", f, CALL(utimensat_time64, -100, p, P(wide), 0));
        say("utimensat_time64 bad", f, CALL(utimensat_time64, -100, p, P(wide_bad), 0));
        say("truncate", f, CALL(truncate, p, 3));
#ifdef __arm__
        /* 64 bits are in registers of an even number and the next. */
        say("truncate64", f, CALL(truncate64, p, -1, 5, 0));
        say("truncate64 large", f, CALL(truncate64, p, -1, 0, 1 << 30));
#else
        say("truncate64", f, CALL(truncate64, p, 5, 0));
        say("truncate64 large", f, CALL(truncate64, p, 0, 1 << 30));
#endif
        say("chown", f, CALL(chown, p, 0xffff, 0xffff));
        say("lchown", f, CALL(lchown, p, 0xffff, 0xffff));
        say("chown32", f, CALL(chown32, p, -1, -1));
        say("lchown32", f, CALL(lchown32, p, -1, -1));
        say("fchownat", f, CALL(fchownat, -100, p, -1, -1, 0));
        say("setxattr", f, CALL(setxattr, p, P("user.x"), P("1"), 1, 0) < 0);
        say("mkdir", f, CALL(mkdir, p, 0755));
        say("rmdir", f, CALL(rmdir, p));
        say("mknod", f, CALL(mknod, p, 0100644, 0));
        say("link", f, CALL(link, p, P(in(name, "hard"))));
        say("rename", f, CALL(rename, P(name), P(in(buffer, "moved"))));
        say("unlink", f, CALL(unlink, P(buffer)));
        say("symlink", f, CALL(symlink, P("target"), p));
        say("creat", f, CALL(close, CALL(creat, p, 0644)));
        long fd = CALL(open, p, 01102, 0600);
        say("open", f, fd < 0 ? fd : 0);
        if (fd >= 0) {
            static int flags;
            say("FS_IOC32_GETFLAGS", f, CALL(ioctl, fd, 0x80046601, P(&flags)));
            say("FS_IOC32_SETFLAGS", f, CALL(ioctl, fd, 0x40046602, P(&flags)));
            say("fchown", f, CALL(fchown, fd, 0xffff, 0xffff));
            say("fchmod", f, CALL(fchmod, fd, 0644));
            CALL(close, fd);
        }
        say("unlink", f, i < 2 ? CALL(unlink, p) : 0);
#ifdef __NR_umount
        say("umount", f, CALL(umount, p));
#endif
        say("umount2", f, CALL(umount2, p, 0));
    }
}

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The names of a directory by each of three calls, and whether each has the inode that lstat64(2) gives. */
static void list(const char *of) {
#ifdef __NR_readdir
    const int first = 0;
#else
    const int first = 1;
#endif
    for (int how = first; how < 3; how++) {
        static char *all[10000];
        int n = 0, bad = 0;
        long r = 0, fd = CALL(open, P(strcpy(path, of)), DIRECTORY);
        printf("open %s %d\n", of, fd >= 0);
        for (;;) {
#ifdef __NR_readdir
            if (how == 0) r = CALL(readdir, fd, P(buffer), 1);
#endif
            if (how == 1) r = CALL(getdents, fd, P(buffer), sizeof buffer);
            if (how == 2) r = CALL(getdents64, fd, P(buffer), sizeof buffer);
            if (r <= 0) break;
            for (long at = 0; at < (how == 0 ? 1 : r);) {
                char *e = buffer + at;
                char *entry = e + (how == 2 ? 19 : 10);
                uint64_t ino = how == 2 ? *(uint64_t *)e : *(uint32_t *)e, real;
                at += how == 0 ? 1 : *(uint16_t *)(e + (how == 2 ? 16 : 8));
                static char st[STAT64];
                sprintf(other, "%s/%s", of, entry);
                memset(st, 0, sizeof st);
                CALL(lstat64, P(other), P(st));
                memcpy(&real, st + INODE, 8);
                bad += real != ino && strcmp(entry, "..");
                all[n++] = strdup(entry);
            }
        }
        qsort(all, n, sizeof *all, compare);
        for (int i = 0; i < n; i++) printf("%s ", all[i]);
        printf("\nend %ld bad %d\n", r, bad);
        CALL(close, fd);
    }
}

static void ids_of(const char *file) {
#ifdef __NR_oldstat
    static const int at[][2] = {{__NR_stat, 12}, {__NR_oldstat, 8}};
#else
    static const int at[][2] = {{__NR_stat, 12}};
#endif
    in(path, file);
    for (unsigned i = 0; i < sizeof at / sizeof *at; i++)
        if (call(at[i][0], P(path), P(buffer), 0, 0, 0) == 0)
            printf("%d: %d %d\n", at[i][0], *(uint16_t *)(buffer + at[i][1]), *(uint16_t *)(buffer + at[i][1] + 2));
    if (CALL(stat64, P(path), P(buffer)) == 0) printf("stat64: %u %u\n", *(uint32_t *)(buffer + 24), *(uint32_t *)(buffer + 28));
}

/* As root, or who believes to be. */
static void ids(void) {
    static uint32_t g32[4];
    static uint16_t g16[4];
    CALL(close, CALL(creat, P(in(path, "owned")), 0644));
    static const uint32_t owners[][2] = {{1, 2}, {70000, 80000}, {0xffff, 3}, {4, 0x10005}, {0xfffe, 0xfffe}};
    for (int i = 0; i < 5; i++) {
        uint32_t u = owners[i][0], g = owners[i][1];
        say("chown", "", CALL(chown, P(in(path, "owned")), u, g)); ids_of("owned");
        say("chown32", "", CALL(chown32, P(in(path, "owned")), u, g)); ids_of("owned");
        say("lchown", "", CALL(lchown, P(in(path, "owned")), g, u)); ids_of("owned");
        say("lchown32", "", CALL(lchown32, P(in(path, "owned")), g, u)); ids_of("owned");
        long fd = CALL(open, P(path), 0);
        say("fchown", "", CALL(fchown, fd, u, 9)); ids_of("owned");
        say("fchown32", "", CALL(fchown32, fd, 9, g)); ids_of("owned");
        say("fstat64", "", CALL(fstat64, fd, P(buffer))); printf("%u %u\n", *(uint32_t *)(buffer + 24), *(uint32_t *)(buffer + 28));
        CALL(close, fd);
        say("fchownat", "", CALL(fchownat, -100, P(path), u, g)); ids_of("owned");
    }
    g32[0] = 5; g32[1] = 100000; g16[0] = 6; g16[1] = 0xffff - 1;
    say("setgroups32", "", CALL(setgroups32, 2, P(g32)));
    say("getgroups32", "", CALL(getgroups32, 4, P(g32))); printf("%u %u\n", g32[0], g32[1]);
    say("getgroups", "", CALL(getgroups, 4, P(g16))); printf("%u %u\n", g16[0], g16[1]);
    g16[0] = 6; g16[1] = 7;
    say("setgroups", "", CALL(setgroups, 2, P(g16)));
    say("getgroups", "", CALL(getgroups, 4, P(g16))); printf("%u %u\n", g16[0], g16[1]);
    say("getgroups none", "", CALL(getgroups, 1, P(g16)));
    say("setresgid32", "", CALL(setresgid32, 70001, 70002, 70003));
    say("getresgid", "", CALL(getresgid, P(g16), P(g16 + 1), P(g16 + 2))); printf("%u %u %u\n", g16[0], g16[1], g16[2]);
    say("getgid", "", CALL(getgid, 0)); say("getgid32", "", CALL(getgid32, 0)); say("getegid", "", CALL(getegid, 0)); say("getegid32", "", CALL(getegid32, 0));
    say("setregid", "", CALL(setregid, 0xffff, 12)); say("setfsgid", "", CALL(setfsgid, 13)); say("setfsgid32", "", CALL(setfsgid32, 14));
    say("setfsuid", "", CALL(setfsuid, 0xffff)); say("setfsuid32", "", CALL(setfsuid32, -1));
    say("setresuid", "", CALL(setresuid, 0xffff, 21, 22));
    say("getresuid32", "", CALL(getresuid32, P(g32), P(g32 + 1), P(g32 + 2))); printf("%u %u %u\n", g32[0], g32[1], g32[2]);
    say("getresuid", "", CALL(getresuid, P(g16), P(g16 + 1), P(g16 + 2))); printf("%u %u %u\n", g16[0], g16[1], g16[2]);
    say("setreuid32", "", CALL(setreuid32, -1, 22)); say("geteuid", "", CALL(geteuid, 0)); say("geteuid32", "", CALL(geteuid32, 0));
    say("setuid", "", CALL(setuid, 0x10000)); say("getuid", "", CALL(getuid, 0)); say("getuid32", "", CALL(getuid32, 0)); say("setuid32", "", CALL(setuid32, 77));
    say("chown", "", CALL(chown, P(in(path, "owned")), 1, 1));
}

/* How many names each call counts, of the file `f` and of its other name `g`. */
static void names(void) {
    for (int i = 0; i < 2; i++) {
        const char *f = i ? "g" : "f";
        uint32_t p = P(in(path, f));
        long fd = CALL(open, p, 0);
#define SHOW(what, type, at) memset(buffer, 0, 99); say(#what, f, what); printf("%d\n", *(type *)(buffer + at))
#ifdef __NR_oldstat
        SHOW(CALL(oldstat, p, P(buffer)), uint16_t, 6);
        SHOW(CALL(oldlstat, p, P(buffer)), uint16_t, 6);
        SHOW(CALL(oldfstat, fd, P(buffer)), uint16_t, 6);
#endif
        SHOW(CALL(stat, p, P(buffer)), uint16_t, 10);
        SHOW(CALL(lstat, p, P(buffer)), uint16_t, 10);
        SHOW(CALL(fstat, fd, P(buffer)), uint16_t, 10);
        SHOW(CALL(stat64, p, P(buffer)), uint32_t, 20);
        SHOW(CALL(lstat64, p, P(buffer)), uint32_t, 20);
        SHOW(CALL(fstat64, fd, P(buffer)), uint32_t, 20);
        SHOW(CALL(fstatat64, -100, p, P(buffer), 0), uint32_t, 20);
        SHOW(CALL(fstatat64, -100, p, P(buffer), 0x100), uint32_t, 20);
        SHOW(CALL(fstatat64, fd, P(""), P(buffer), 0x1000), uint32_t, 20);
        SHOW(CALL(statx, -100, p, 0, 0x7ff, P(buffer)), uint32_t, 16);
        SHOW(CALL(statx, fd, P(""), 0x1000, 0x7ff, P(buffer)), uint32_t, 16);
        CALL(close, fd);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    setvbuf(stdout, 0, _IOFBF, 1 << 16);
    static char where[4200];
    dir = strcpy(where, argv[2]);
    CALL(chdir, P(dir));
    CALL(umask, 022);
    memset(buffer, 0xee, sizeof buffer);
    if (!strcmp(argv[1], "look")) look();
    if (!strcmp(argv[1], "change")) change();
    if (!strcmp(argv[1], "list")) list(dir);
    if (!strcmp(argv[1], "ids")) ids();
    if (!strcmp(argv[1], "names")) names();
    return 0;
}
