// A real SMTP server on a free port of loopback. Prints its port, then each mail, as JSON lines.
//
// Options, as JSON in the first argument: `user` and `password` ask for a log-in, `refuse` answers
// the first so many mails with 451, `tls` is "starttls", "smtps" or absent (with a certificate that
// nobody trusts), `silent` never greets.

import net from "node:net";
import { simpleParser } from "mailparser";
import { SMTPServer } from "smtp-server";

const options = JSON.parse(process.argv[2] ?? "{}");
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");
let refusals = options.refuse ?? 0;
let login = null;

const smtp = new SMTPServer({
  secure: options.tls === "smtps",
  disabledCommands: options.tls === "starttls" ? [] : ["STARTTLS"],
  hideSTARTTLS: options.tls !== "starttls",
  authOptional: !options.user,
  allowInsecureAuth: true,
  onAuth(auth, _session, done) {
    login = { user: auth.username, password: auth.password };
    print({ login });
    const isRight = auth.username === options.user && auth.password === options.password;
    done(isRight ? null : new Error("no such user"), { user: auth.username });
  },
  async onData(stream, session, done) {
    const mail = await simpleParser(stream);
    if (refusals > 0) {
      refusals -= 1;
      const error = new Error("try again later");
      error.responseCode = 451;
      return done(error);
    }
    print({
      hello: session.hostNameAppearsAs,
      envelope: { from: session.envelope.mailFrom.address, to: session.envelope.rcptTo.map((to) => to.address) },
      subject: mail.subject,
      from: mail.from.text,
      to: mail.to.text,
      date: mail.date,
      messageId: mail.messageId,
      text: mail.text,
      headers: Object.fromEntries(mail.headerLines.map(({ key, line }) => [key, line.slice(line.indexOf(":") + 1).trim()])),
    });
    done();
  },
});
smtp.on("error", (error) => print({ error: error.message }));

const server = options.silent ? net.createServer(() => {}) : smtp.server;
server.listen(0, "127.0.0.1", () => print({ port: server.address().port }));
// The test holds our input open; whatever ends it, ends us.
process.stdin.on("end", () => process.exit()).resume();
