/* Preloaded into a process (LD_PRELOAD), records every connection and name lookup in the file $NETWORK_RECORD, and refuses
   all but those of this machine. Native code is seen too: ONNX Runtime, for one, has an HTTP client of its own. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void record(const char *what, const char *where) {
  const char *path = getenv("NETWORK_RECORD"), *during = getenv("NETWORK_RECORD_AS");
  char line[512];
  if (!path) return;
  int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", during ? during : "", what, where ? where : "");
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) return;
  if (write(file, line, length < (int)sizeof line ? length : (int)sizeof line - 1) < 0) abort();
  close(file);
}

/* Record an address; return whether it is one of this machine. */
static int is_here(const char *what, const struct sockaddr *address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (!address) return 1; /* of a connected socket: `connect` has recorded it */
  if (address->sa_family == AF_INET)
    inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
  else if (address->sa_family == AF_INET6)
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
  else
    return 1; /* a file, the kernel */
  record(what, text);
  return !strncmp(text, "127.", 4) || !strcmp(text, "::1") || !strncmp(text, "::ffff:127.", 11);
}

static int is_local_name(const char *name) {
  record("lookup", name);
  return !name || !strcmp(name, "localhost") || !strncmp(name, "127.", 4) || !strcmp(name, "::1") || !strcmp(name, "0.0.0.0");
}

#define REAL(name) (real ? real : (real = dlsym(RTLD_NEXT, name)))

int connect(int file, const struct sockaddr *address, socklen_t length) {
  static int (*real)(int, const struct sockaddr *, socklen_t);
  if (!is_here("connect", address)) return errno = ENETUNREACH, -1;
  return REAL("connect")(file, address, length);
}

ssize_t sendto(int file, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length) {
  static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
  if (!is_here("sendto", address)) return errno = ENETUNREACH, -1;
  return REAL("sendto")(file, data, size, flags, address, length);
}

ssize_t sendmsg(int file, const struct msghdr *message, int flags) {
  static ssize_t (*real)(int, const struct msghdr *, int);
  if (!is_here("sendmsg", message->msg_name)) return errno = ENETUNREACH, -1;
  return REAL("sendmsg")(file, message, flags);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  if (!is_local_name(name)) return EAI_AGAIN;
  return REAL("getaddrinfo")(name, service, hints, found);
}

struct hostent *gethostbyname(const char *name) {
  static struct hostent *(*real)(const char *);
  if (!is_local_name(name)) return h_errno = TRY_AGAIN, NULL;
  return REAL("gethostbyname")(name);
}

int gethostbyname_r(const char *name, struct hostent *host, char *buffer, size_t size, struct hostent **found, int *error) {
  static int (*real)(const char *, struct hostent *, char *, size_t, struct hostent **, int *);
  if (!is_local_name(name)) return *found = NULL, *error = TRY_AGAIN, EAGAIN;
  return REAL("gethostbyname_r")(name, host, buffer, size, found, error);
}
