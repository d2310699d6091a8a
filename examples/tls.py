"""A connection over TLS that verifies the broker, and can show the broker who we are with a certificate.

When to use it: wherever there is a network between the program and the broker. ``amqps://`` alone verifies the broker
by the certificate authorities that the system trusts; here it is a CA of one's own, as brokers in a company have it.
With a certificate of the client's, RabbitMQ can do without a password (its plugin rabbitmq_auth_mechanism_ssl).

    python examples/tls.py amqps://localhost --ca ca.pem [--certificate client.pem --key client-key.pem [--external]]

publishes a message to the queue "tasks".
"""

import argparse
import ssl

import pika

QUEUE = "tasks"


def parameters_of(options):
    """Return how to connect."""
    parameters = pika.URLParameters(options.url)
    # Verifies the certificate and the host name that it is for; without a CA file, by those that the system trusts.
    context = ssl.create_default_context(cafile=options.ca)
    if options.certificate:
        context.load_cert_chain(options.certificate, options.key)
    parameters.ssl_options = pika.SSLOptions(context, server_hostname=parameters.host)
    if options.external:
        # The certificate says who we are, and no password is sent.
        parameters.credentials = pika.credentials.ExternalCredentials()
    return parameters


def main():
    parser = argparse.ArgumentParser(description="Publish a message over TLS.")
    parser.add_argument("url", nargs="?", default="amqps://guest:guest@localhost/%2F")
    parser.add_argument("--ca", help="certificates of the authorities to trust, as a PEM file")
    parser.add_argument("--certificate", help="our certificate, as a PEM file")
    parser.add_argument("--key", help="its private key, as a PEM file")
    parser.add_argument("--external", action="store_true", help="log in with the certificate, without a password")
    options = parser.parse_args()
    try:
        with pika.BlockingConnection(parameters_of(options)) as connection:
            channel = connection.channel()
            channel.queue_declare(QUEUE, durable=True)
            channel.confirm_delivery()
            channel.basic_publish("", QUEUE, b"nobody has read this on its way", mandatory=True)
            print("published over TLS")
    except pika.exceptions.AMQPConnectionError as error:
        raise SystemExit(f"no connection: {error}") from None


if __name__ == "__main__":
    main()
