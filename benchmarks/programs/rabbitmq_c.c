/* The workloads on rabbitmq-c; meter.py says what the arguments are and what is printed.
 *
 *   cc -O2 -o rabbitmq_c rabbitmq_c.c -lrabbitmq
 */

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define CHANNEL 1
#define PREFETCH 200
#define IN_FLIGHT 1000

static const char *task, *url;
static long messages, warm_up, total;
static amqp_bytes_t body, queue;

/* What the measured section cost. */
static struct rusage usage_before, usage_after;
static struct timespec time_before, time_after;
static long rss_before, peak_after;

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void require(amqp_rpc_reply_t reply, const char *what) {
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail(what);
}

static long status(const char *name) {
  char line[256];
  long found = -1;
  FILE *file = fopen("/proc/self/status", "r");
  if (file == NULL) return -1;
  while (found < 0 && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, name, strlen(name)) == 0) found = atol(line + strlen(name));
  fclose(file);
  return found;
}

static void start(void) {
  FILE *file = fopen("/proc/self/clear_refs", "w");
  if (file != NULL) {
    fputs("5", file);
    fclose(file);
  }
  rss_before = status("VmRSS:");
  getrusage(RUSAGE_SELF, &usage_before);
  clock_gettime(CLOCK_MONOTONIC, &time_before);
}

static void stop(void) {
  clock_gettime(CLOCK_MONOTONIC, &time_after);
  getrusage(RUSAGE_SELF, &usage_after);
  peak_after = status("VmHWM:");
}

static double between(struct timeval before, struct timeval after) {
  return (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_usec - before.tv_usec) / 1e6;
}

static void report(void) {
  double seconds =
      (double)(time_after.tv_sec - time_before.tv_sec) + (double)(time_after.tv_nsec - time_before.tv_nsec) / 1e9;
  printf("{\"version\": \"%s\", \"python\": \"\", \"messages\": %ld, \"seconds\": %.9f, ", amqp_version(), messages,
         seconds);
  printf("\"user_seconds\": %.6f, \"system_seconds\": %.6f, ", between(usage_before.ru_utime, usage_after.ru_utime),
         between(usage_before.ru_stime, usage_after.ru_stime));
  if (peak_after < 0)
    printf("\"peak_rss_kib\": null, \"grown_kib\": null}\n");
  else
    printf("\"peak_rss_kib\": %ld, \"grown_kib\": %ld}\n", peak_after, peak_after - rss_before);
}

static amqp_connection_state_t open_connection(void) {
  struct amqp_connection_info info;
  char *copy = strdup(url);
  amqp_connection_state_t connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  amqp_default_connection_info(&info);
  if (amqp_parse_url(copy, &info) != AMQP_STATUS_OK) fail("the URL is none");
  if (socket == NULL || amqp_socket_open(socket, info.host, info.port) != AMQP_STATUS_OK) fail("no connection");
  require(amqp_login(connection, info.vhost, 0, AMQP_DEFAULT_FRAME_SIZE, 60, AMQP_SASL_METHOD_PLAIN, info.user,
                     info.password),
          "the login failed");
  amqp_channel_open(connection, CHANNEL);
  require(amqp_get_rpc_reply(connection), "the channel did not open");
  free(copy);
  return connection;
}

static void close_connection(amqp_connection_state_t connection) {
  require(amqp_connection_close(connection, AMQP_REPLY_SUCCESS), "the connection did not close");
  amqp_destroy_connection(connection);
}

/* Return when the broker has answered something that was sent behind everything else. */
static void barrier(amqp_connection_state_t connection) {
  amqp_queue_declare(connection, CHANNEL, queue, 1, 0, 0, 0, amqp_empty_table);
  require(amqp_get_rpc_reply(connection), "the queue is gone");
  amqp_maybe_release_buffers(connection);
}

static void send_one(amqp_connection_state_t connection) {
  if (amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, queue, 0, 0, NULL, body) != AMQP_STATUS_OK)
    fail("a publish failed");
}

static void publish(void) {
  amqp_connection_state_t connection = open_connection();
  for (long number = 0; number < warm_up; number++) send_one(connection);
  barrier(connection);
  start();
  for (long number = 0; number < messages; number++) send_one(connection);
  barrier(connection);
  stop();
  close_connection(connection);
}

/* Publish with so many messages at most that wait for their confirms. */
static void publish_confirmed(long in_flight) {
  amqp_connection_state_t connection = open_connection();
  long sent = 0, settled = 0, goal = warm_up;
  amqp_confirm_select(connection, CHANNEL);
  require(amqp_get_rpc_reply(connection), "no confirms");
  while (settled < total) {
    amqp_frame_t frame;
    for (; sent < goal && sent - settled < in_flight; sent++) send_one(connection);
    if (amqp_simple_wait_frame(connection, &frame) != AMQP_STATUS_OK) fail("the connection was lost");
    if (frame.frame_type != AMQP_FRAME_METHOD) continue;
    if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD) fail("a message was not confirmed");
    amqp_basic_ack_t *ack = frame.payload.method.decoded;
    if (!ack->multiple && ack->delivery_tag != (uint64_t)settled + 1) fail("a confirm is out of order");
    settled = (long)ack->delivery_tag;
    amqp_maybe_release_buffers(connection);
    if (settled == goal && goal == warm_up) {
      start();
      goal = total;
    }
  }
  stop();
  close_connection(connection);
}

static void require_body(amqp_bytes_t found, int whole) {
  if (found.len != body.len || (whole && memcmp(found.bytes, body.bytes, body.len) != 0)) fail("a body is another");
}

static void consume(int acknowledge) {
  amqp_connection_state_t connection = open_connection();
  if (acknowledge) amqp_basic_qos(connection, CHANNEL, 0, PREFETCH, 0);
  amqp_basic_consume(connection, CHANNEL, queue, amqp_empty_bytes, 0, !acknowledge, 0, amqp_empty_table);
  require(amqp_get_rpc_reply(connection), "no consumer");
  for (long number = 1; number <= total; number++) {
    amqp_envelope_t envelope;
    amqp_maybe_release_buffers(connection);
    require(amqp_consume_message(connection, &envelope, NULL, 0), "a message did not come");
    if (envelope.delivery_tag != (uint64_t)number) fail("a delivery is another");
    require_body(envelope.message.body, 0);
    if (acknowledge && amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, 0) != AMQP_STATUS_OK)
      fail("an acknowledgement failed");
    if (number == warm_up) start();
    if (number == total) {
      stop();
      require_body(envelope.message.body, 1);
    }
    amqp_destroy_envelope(&envelope);
  }
  close_connection(connection);
}

static void get(void) {
  amqp_connection_state_t connection = open_connection();
  for (long number = 1; number <= total; number++) {
    amqp_message_t message;
    amqp_maybe_release_buffers(connection);
    amqp_rpc_reply_t reply = amqp_basic_get(connection, CHANNEL, queue, 1);
    require(reply, "a get failed");
    if (reply.reply.id != AMQP_BASIC_GET_OK_METHOD) fail("messages were lost: there is none");
    require(amqp_read_message(connection, CHANNEL, &message, 0), "a message did not come");
    require_body(message.body, 0);
    if (number == total) {
      stop();
      require_body(message.body, 1);
    }
    amqp_destroy_message(&message);
    if (number == warm_up) start();
  }
  close_connection(connection);
}

static void open_close(void) {
  amqp_connection_state_t *opened = calloc((size_t)total, sizeof *opened);
  if (opened == NULL) fail("no memory");
  for (long number = 0; number < total; number++) {
    if (number == warm_up) start();
    opened[number] = open_connection();
  }
  stop();
  for (long number = 0; number < total; number++) close_connection(opened[number]);
  free(opened);
}

int main(int count, char **arguments) {
  if (count != 7) fail("arguments: task, messages, warm-up, octets of a body, URL, queue");
  task = arguments[1];
  messages = atol(arguments[2]);
  warm_up = atol(arguments[3]);
  total = warm_up + messages;
  body.len = (size_t)atol(arguments[4]);
  url = arguments[5];
  queue = amqp_cstring_bytes(arguments[6]);
  char *octets = malloc(body.len + 1);
  if (octets == NULL) fail("no memory");
  for (size_t place = 0; place < body.len; place++) octets[place] = "0123456789abcdef"[place % 16];
  body.bytes = octets;

  if (strcmp(task, "publish") == 0) publish();
  else if (strcmp(task, "publish-confirmed") == 0) publish_confirmed(1);
  else if (strcmp(task, "publish-window") == 0) publish_confirmed(IN_FLIGHT);
  else if (strcmp(task, "consume") == 0) consume(0);
  else if (strcmp(task, "consume-ack") == 0) consume(1);
  else if (strcmp(task, "get") == 0) get();
  else if (strcmp(task, "open") == 0) open_close();
  else fail("no such task");
  report();
  return 0;
}
