/* What a program can tell of how it was started, in 32 or in 64 bits; then it becomes what its arguments say. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ, __executable_start, etext, edata, end;
extern void _start(void);

/* What may be done with the page of an address. */
static void may(const char *what, void *at) {
    char line[5000], mode[8] = "none";
    unsigned long from, to;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && from <= (uintptr_t)at && (uintptr_t)at < to) break;
    if (maps) fclose(maps);
    printf("%s %s, ", what, mode);
}

static void *thread(void *arg) { return arg; }

int main(int argc, char **argv) {
    char exe[4200] = "", name[16] = "";
    setvbuf(stdout, 0, _IONBF, 0);
    printf("%d bits, argc %d:", (int)sizeof(void *) * 8, argc);
    for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    prctl(PR_GET_NAME, name);
    printf("\nexe %zd %s, name %s, execfn %s\n", n, exe, name, (char *)getauxval(AT_EXECFN));
    printf("entry %d, page %lu, secure %lu, ids %d\n", getauxval(AT_ENTRY) == (uintptr_t)_start, getauxval(AT_PAGESZ),
        getauxval(AT_SECURE), getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid());
    const ElfW(Phdr) *headers = (void *)getauxval(AT_PHDR);
    unsigned loads = 0;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) loads += headers[i].p_type == PT_LOAD;
    printf("loads %u, headers %d, interpreter %d\n", loads, (uintptr_t)headers > (uintptr_t)&__executable_start, getauxval(AT_BASE) != 0);
    /* The break begins behind the program, and moves. */
    char *b = sbrk(0);
    printf("break %d", b >= &end && b - &end < 0x50000000);
    b = sbrk(1 << 20);
    printf(" %d", b != (void *)-1);
    if (b != (void *)-1) memset(b, 1, 1 << 20);
    /* The kernel's vector is the program's. */
    ElfW(auxv_t) own[64];
    int fd = open("/proc/self/auxv", O_RDONLY);
    n = fd < 0 ? 0 : read(fd, own, sizeof own);
    unsigned long entry = 0;
    for (size_t i = 0; i < n / sizeof *own; i++)
        if (own[i].a_type == AT_ENTRY) entry = own[i].a_un.a_val;
    printf(", auxv %d, command line ", entry == (uintptr_t)_start);
    fd = open("/proc/self/cmdline", O_RDONLY);
    char line[300];
    n = read(fd, line, sizeof line);
    for (ssize_t i = 0; i < n; i++) putchar(line[i] ? line[i] : '|');
    char *variable = getenv("NARROW");
    printf(", variable %s\n", variable ? variable : "none");
    static int datum;
    void *fresh = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    may("stack", &argc);
    may("data", &datum);
    may("constants", (void *)&__executable_start);
    may("heap", sbrk(0) - 1);
    may("fresh", fresh);
    printf("personality %x\n", personality(0xffffffff));
    pid_t child = vfork();
    if (child == 0) _exit(access(exe, R_OK) ? errno : 0);
    int status;
    waitpid(child, &status, 0);
    child = fork();
    if (child == 0) _exit(access("/", R_OK) + (thread(0) != 0));
    int other;
    waitpid(child, &other, 0);
    printf("children %x %x\n", status, other);
    if (argc > 1) {
        setenv("NARROW", "set", 1);
        execvp(argv[1], argv + 1);
        printf("exec %s: %d\n", argv[1], errno);
        return 1;
    }
    return sizeof(void *);
}
