/* Sockets with a path for an address, by calls of their own and by socketcall(2); what comes back is printed. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SYS_socketcall
#define SYS_socketcall -1
#endif

static int gathered;

static long call(int number, int which, long a, long b, long c, long d, long e, long f) {
    static unsigned long args[6];
    args[0] = a; args[1] = b; args[2] = c; args[3] = d; args[4] = e; args[5] = f;
    return gathered ? syscall(SYS_socketcall, which, args) : syscall(number, a, b, c, d, e, f);
}

static struct sockaddr_un here, there, got[2];
static char text[2][99];
static socklen_t length;

static void show(const char *what, long r) { printf("%s %ld: %d '%s' '%s'\n", what, r, (int)length, got[0].sun_path, text[0]); }

static void clear(void) {
    memset(got, 0, sizeof got);
    memset(text, 0, sizeof text);
    length = sizeof got[0];
}

static void streams(void) {
    int s = socket(AF_UNIX, SOCK_STREAM, 0), k = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("bind %ld\n", call(SYS_bind, 2, s, (long)&here, sizeof here, 0, 0, 0));
    printf("again %ld\n", call(SYS_bind, 2, s, (long)&here, sizeof here, 0, 0, 0));
    listen(s, 3);
    printf("nobody %ld\n", call(SYS_connect, 3, k, (long)&there, sizeof there, 0, 0, 0));
    printf("connect %ld\n", call(SYS_connect, 3, k, (long)&here, sizeof here, 0, 0, 0));
    clear();
    long n = call(SYS_accept4, 18, s, (long)&got[0], (long)&length, 0, 0, 0);
    show("accept4", n > 0);
    clear(); show("getpeername", call(SYS_getpeername, 7, k, (long)&got[0], (long)&length, 0, 0, 0));
    clear(); show("getsockname", call(SYS_getsockname, 6, s, (long)&got[0], (long)&length, 0, 0, 0));
    struct ucred peer = {0, 0, 0};
    length = sizeof peer;
    long r = call(SYS_getsockopt, 15, k, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&length, 0);
    printf("peer %ld %d\n", r, peer.pid == getpid() && peer.uid == getuid() && peer.gid == getgid());
    close(s); close(k); close(n);
    unlink(here.sun_path);
}

static void datagrams(void) {
    int d = socket(AF_UNIX, SOCK_DGRAM, 0), e = socket(AF_UNIX, SOCK_DGRAM, 0), i;
    call(SYS_bind, 2, d, (long)&here, sizeof here, 0, 0, 0);
    call(SYS_bind, 2, e, (long)&there, sizeof there, 0, 0, 0);
    printf("sendto %ld\n", call(SYS_sendto, 11, e, (long)"hello", 5, 0, (long)&here, sizeof here));
    clear(); show("recvfrom", call(SYS_recvfrom, 12, d, (long)text[0], 99, 0, (long)&got[0], (long)&length));
    struct iovec word = {"world", 5}, into[2] = {{text[0], 99}, {text[1], 99}};
    struct msghdr message = {.msg_name = &here, .msg_namelen = sizeof here, .msg_iov = &word, .msg_iovlen = 1}, in;
    printf("sendmsg %ld\n", call(SYS_sendmsg, 16, e, (long)&message, 0, 0, 0, 0));
    struct mmsghdr many[3] = {{message, 0}, {message, 0}, {message, 0}};
    printf("sendmmsg %ld", call(SYS_sendmmsg, 20, e, (long)many, 3, 0, 0, 0));
    for (i = 0; i < 3; i++) printf(" %u", many[i].msg_len);
    clear();
    in = (struct msghdr){.msg_name = &got[0], .msg_namelen = sizeof got[0], .msg_iov = &into[0], .msg_iovlen = 1};
    long r = call(SYS_recvmsg, 17, d, (long)&in, 0, 0, 0, 0);
    length = in.msg_namelen;
    show("\nrecvmsg", r);
    clear();
    for (i = 0; i < 2; i++)
        many[i].msg_hdr = (struct msghdr){.msg_name = &got[i], .msg_namelen = sizeof got[i], .msg_iov = &into[i], .msg_iovlen = 1};
    r = call(SYS_recvmmsg, 19, d, (long)many, 2, 0, 0, 0);
    length = many[1].msg_hdr.msg_namelen;
    show("recvmmsg", r);
    printf("%s %s %u\n", got[1].sun_path, text[1], many[1].msg_len);
    close(d); close(e);
    unlink(here.sun_path);
    unlink(there.sun_path);
}

int main(int argc, char **argv) {
    (void)argc;
    here.sun_family = there.sun_family = AF_UNIX;
    snprintf(here.sun_path, sizeof here.sun_path, "%s", argv[1]);
    snprintf(there.sun_path, sizeof there.sun_path, "%s2", argv[1]);
    for (gathered = 0; gathered < (SYS_socketcall < 0 ? 1 : 2); gathered++) {
        streams();
        datagrams();
    }
    return 0;
}
