"""Talks to a Cloud API as a business's own program would, through pywa as it comes from its package index.

Nothing but the base URL and the token differs from talking to Meta. Each call prints one line of JSON: its name, and
what it gave or the error that the library raised. The end is 0 whatever was refused: the reader decides what is
right. Only an answer that the library cannot take ends it.
"""

import argparse
import json
import os
import sys

import httpx
from pywa import WhatsApp
from pywa.errors import WhatsAppError
from pywa.handlers import MessageHandler, MessageStatusHandler
from pywa.types import Button, URLButton
from pywa.types.media import Media
from pywa.types.templates import BodyText, TemplateLanguage

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
    "a5f645400000000049454e44ae426082"
)


def connect(args):
    session = httpx.Client(timeout=60, trust_env=False)
    client = WhatsApp(
        phone_id=args.phone_id,
        token=os.environ["GRAPH_TOKEN"],
        session=session,
        app_secret=os.environ.get("GRAPH_APP_SECRET"),
        waba_id=args.account_id,
        api_version=args.version,
    )
    # The session is ours, and pywa has set where it leads: this is all that changes.
    session.base_url = f"{args.base_url}/v{args.version}"
    return client


def call(name, act):
    """Prints what a call gave, or how the library says that it was refused."""
    try:
        told = act()
    except WhatsAppError as error:
        told = {"error": type(error).__name__, "code": error.code, "message": error.message}
        told["details"] = error.details
    print(json.dumps({"call": name, **told}), flush=True)
    return told


def everything(wa, args):
    """Every kind of call, once."""
    sent = lambda message: {"id": message.id}
    call("text", lambda: sent(wa.send_message(args.to, "Fattura pronta", tracker="order-7")))
    parameters = [BodyText.params("Anna", "42")]
    italian = TemplateLanguage.ITALIAN
    call("template", lambda: sent(wa.send_template(args.to, "avviso", italian, parameters)))
    buttons = [Button(title="Sì", callback_data="yes"), Button(title="No", callback_data="no")]
    call("buttons", lambda: sent(wa.send_message(args.to, "Va bene?", buttons=buttons, footer="Acme")))
    link = URLButton(title="Apri", url="https://acme.example/42")
    call("link", lambda: sent(wa.send_message(args.to, "L'ordine 42", buttons=link)))
    call("location", lambda: sent(wa.send_location(args.to, 45.46, 9.19, "Magazzino", "Via Roma 1")))

    upload = lambda: {"id": wa.upload_media(PICTURE, mime_type="image/png", filename="a.png").id}
    picture = call("upload", upload)["id"]
    image = Media(wa, picture, "a.png", args.phone_id)
    call("image", lambda: sent(wa.send_image(args.to, image, caption="Ecco")))
    call("download", lambda: download(wa, picture))

    call("reaction", lambda: sent(wa.send_reaction(args.to, "👍", args.received)))
    call("read", lambda: {"success": bool(wa.mark_message_as_read(args.received))})
    call("typing", lambda: {"success": bool(wa.indicate_typing(args.received))})
    call("templates", lambda: {"names": sorted(template.name for template in wa.get_templates())})
    call("number", lambda: {"display": wa.get_business_phone_number().display_phone_number})
    call("numbers", lambda: {"ids": sorted(number.id for number in wa.get_business_phone_numbers())})
    call("profile", lambda: profile(wa))


def download(wa, picture):
    seen = wa.get_media_url(picture)
    whole = seen.get_bytes() == PICTURE
    return {"whole": whole, "mime_type": seen.mime_type, "sha256": seen.sha256, "size": seen.file_size}


def profile(wa):
    changed = wa.update_business_profile(about="Spedizioni", websites=["https://acme.example"])
    known = wa.get_business_profile()
    return {"success": bool(changed), "about": known.about, "websites": list(known.websites)}


def reply(wa, args):
    """A text that answers the message `--received`."""
    call("reply", lambda: {"id": wa.send_message(args.to, "Di nuovo", reply_to_message_id=args.received).id})


def text(wa, args):
    """One text."""
    call("text", lambda: {"id": wa.send_message(args.to, "Ciao").id})


def delete(wa, args):
    """Deletes the file `--file`, and looks for it."""
    call("delete", lambda: {"success": bool(wa.delete_media(args.file))})
    call("deleted", lambda: download(wa, args.file))


def webhooks(wa, args):
    """Reads webhooks from the standard input, one a line as `signature body`, and tells what the library sees."""
    wa.add_handlers(
        MessageStatusHandler(lambda _, seen: call("status", lambda: status(seen))),
        MessageHandler(lambda _, seen: call("message", lambda: message(seen))),
    )
    for line in sys.stdin.buffer:
        signature, body = line.rstrip(b"\n").split(b" ", 1)
        refused = wa.webhook_update_validator(body, signature.decode())
        if refused is None:
            wa.webhook_update_handler(body)
        else:
            call("refused", lambda: {"answer": refused[0], "http": refused[1]})


def status(seen):
    error = seen.error and seen.error.code
    return {"id": seen.id, "status": seen.status.value, "tracker": seen.tracker, "error": error}


def message(seen):
    return {"id": seen.id, "text": seen.text, "from": seen.from_user.wa_id}


def main():
    jobs = {job.__name__: job for job in (everything, reply, text, delete, webhooks)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=sorted(jobs))
    parser.add_argument("--base-url", required=True, help="up to the version: Meta's is https://graph.facebook.com")
    parser.add_argument("--version", default="23.0")
    parser.add_argument("--phone-id", required=True)
    parser.add_argument("--account-id", required=True)
    parser.add_argument("--to", required=True, help="the user to write to")
    parser.add_argument("--file", help="the id of a file to delete")
    parser.add_argument("--received", help="the id of a message to answer, react to or mark as read")
    args = parser.parse_args()
    jobs[args.job](connect(args), args)


if __name__ == "__main__":
    sys.exit(main())
