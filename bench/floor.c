/* The floor under a call alone: its links, its write and its sync, and nothing else.

   client DEALER -> ROUTER node ROUTER -> DEALER worker -> node [pwrite, fdatasync] -> client

   A program of its own, by `bench/floor.py`:

       floor FOLDER CALLS SYNC    prints the microseconds of each call, one to a line

   The links and the log's file are in FOLDER.  With SYNC 0 nothing is written. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* Of libzmq; its headers are not needed for these. */
void *zmq_ctx_new(void);
void *zmq_socket(void *context, int type);
int zmq_bind(void *link, const char *address);
int zmq_connect(void *link, const char *address);
int zmq_send(void *link, const void *data, size_t size, int flags);
int zmq_recv(void *link, void *data, size_t size, int flags);

enum { DEALER = 5, ROUTER = 6, SNDMORE = 2 };
enum { CALL_BYTES = 300, RECORD_BYTES = 340, FRAME_BYTES_MAX = 512, NAME_BYTES_MAX = 64 };
enum { LOG_BYTES = 4 << 20, PAGE_BYTES = 4096, WARM_CALLS = 200 };

static void check(int good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static void *open_link(int type, const char *folder, const char *name)
{
    char address[200];
    void *link = zmq_socket(zmq_ctx_new(), type);
    int length = snprintf(address, sizeof address, "ipc://%s/%s", folder, name);
    check(link != NULL && length < (int)sizeof address, "a link");
    check((type == ROUTER ? zmq_bind : zmq_connect)(link, address) == 0, address);
    return link;
}

static int receive(void *link, char *data, size_t room)
{
    int size = zmq_recv(link, data, room, 0);
    check(size >= 0 && size <= (int)room, "a frame");
    return size;
}

/* As long as the journal of a node, and as it: written before, so a sync has only the data to do. */
static int open_log(const char *folder)
{
    static const char zeros[PAGE_BYTES];
    char path[200];
    snprintf(path, sizeof path, "%s/floor.log", folder);
    int file = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    check(file >= 0, path);
    for (int at = 0; at < LOG_BYTES; at += PAGE_BYTES)
        check(write(file, zeros, PAGE_BYTES) == PAGE_BYTES, path);
    check(fsync(file) == 0, path);
    return file;
}

static void run_node(const char *folder, int syncs)
{
    char client[NAME_BYTES_MAX], worker[NAME_BYTES_MAX], frame[FRAME_BYTES_MAX];
    void *clients = open_link(ROUTER, folder, "clients.ipc");
    void *workers = open_link(ROUTER, folder, "workers.ipc");
    int file = syncs ? open_log(folder) : -1;
    int worker_size = receive(workers, worker, sizeof worker);
    receive(workers, frame, sizeof frame);
    for (off_t at = 0;; at = (at + PAGE_BYTES) % LOG_BYTES) {
        int client_size = receive(clients, client, sizeof client);
        int size = receive(clients, frame, sizeof frame);
        check(zmq_send(workers, worker, worker_size, SNDMORE) >= 0, "the worker");
        check(zmq_send(workers, frame, size, 0) >= 0, "the worker");
        receive(workers, worker, sizeof worker);
        size = receive(workers, frame, sizeof frame);
        if (syncs) {
            check(pwrite(file, frame, RECORD_BYTES, at) == RECORD_BYTES, "the log");
            check(fdatasync(file) == 0, "the log");
        }
        check(zmq_send(clients, client, client_size, SNDMORE) >= 0, "the client");
        check(zmq_send(clients, frame, size, 0) >= 0, "the client");
    }
}

static void run_worker(const char *folder)
{
    char frame[FRAME_BYTES_MAX];
    void *node = open_link(DEALER, folder, "workers.ipc");
    check(zmq_send(node, "ready", 5, 0) >= 0, "the node");
    for (;;) {
        int size = receive(node, frame, sizeof frame);
        check(zmq_send(node, frame, size, 0) >= 0, "the node");
    }
}

/* 0 in the child, which ends with its parent. */
static pid_t begin(void)
{
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

int main(int count, char **arguments)
{
    static char frame[FRAME_BYTES_MAX];
    if (count != 4) {
        fprintf(stderr, "usage: floor FOLDER CALLS SYNC\n");
        return 2;
    }
    const char *folder = arguments[1];
    int calls = atoi(arguments[2]), syncs = atoi(arguments[3]);
    pid_t node = begin();
    if (node == 0)
        run_node(folder, syncs);
    pid_t worker = begin();
    if (worker == 0)
        run_worker(folder);
    void *link = open_link(DEALER, folder, "clients.ipc");
    for (int call = -WARM_CALLS; call < calls; call++) {
        double begun = now_us();
        check(zmq_send(link, frame, CALL_BYTES, 0) == CALL_BYTES, "the node");
        check(receive(link, frame, sizeof frame) == CALL_BYTES, "the call's frame");
        if (call >= 0)
            printf("%.1f\n", now_us() - begun);
    }
    kill(node, SIGKILL);
    kill(worker, SIGKILL);
    return 0;
}
