"""SQLAlchemy and Django through an endpoint that splits.

Purpose: what they say of their own accord works, and what they write they read.
Never: rely on how fresh a replica is: what was written is waited for there.
"""

import argparse
import time


def eventually(read, wanted):
    until = time.monotonic() + 20
    while (seen := read()) != wanted:
        assert time.monotonic() < until, f"{seen!r} instead of {wanted!r}"
        time.sleep(0.01)


def sqlalchemy(args):
    from sqlalchemy import String, create_engine, select
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class Word(Base):
        __tablename__ = "words_a"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str] = mapped_column(String(50))

    url = f"mysql+pymysql://{args.user}:{args.password}@{args.host}:{args.port}/{args.database}"
    engine = create_engine(url + "?charset=utf8mb4", pool_size=2)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Word(text="wörd"), Word(text="zwei")])
        session.commit()
        assert session.scalars(select(Word.text).order_by(Word.id)).all() == ["wörd", "zwei"]
        session.add(Word(text="gone"))
        session.flush()
        session.rollback()
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    with reading.connect() as connection:
        def read():
            return [row[0] for row in connection.execute(select(Word.text).order_by(Word.id))]

        eventually(read, ["wörd", "zwei"])
    Base.metadata.drop_all(engine)
    print("sqlalchemy")


def django(args):
    import django
    from django.conf import settings

    database = {
        "ENGINE": "mysql.connector.django",
        "NAME": args.database,
        "USER": args.user,
        "PASSWORD": args.password,
        "HOST": args.host,
        "PORT": args.port,
        "OPTIONS": {"use_pure": True},
    }
    settings.configure(DATABASES={"default": database}, USE_TZ=True)
    django.setup()
    from django.db import connection, models, transaction

    class Word(models.Model):
        text = models.CharField(max_length=50)

        class Meta:
            app_label = "words"
            db_table = "words_d"

    with connection.schema_editor() as editor:
        editor.create_model(Word)
    with transaction.atomic():
        Word.objects.create(text="wörd")
        assert Word.objects.count() == 1
    Word.objects.bulk_create([Word(text="one"), Word(text="two")])

    class Undone(Exception):
        pass

    try:
        with transaction.atomic():
            Word.objects.create(text="gone")
            raise Undone
    except Undone:
        pass
    eventually(lambda: [word.text for word in Word.objects.order_by("id")], ["wörd", "one", "two"])
    Word.objects.filter(text="one").update(text="1")
    eventually(lambda: Word.objects.get(text="1").pk, Word.objects.get(text="two").pk - 1)
    with connection.schema_editor() as editor:
        editor.delete_model(Word)
    print("django")


parser = argparse.ArgumentParser()
parser.add_argument("library", choices=["sqlalchemy", "django"])
for name in ["--host", "--user", "--password", "--database"]:
    parser.add_argument(name)
parser.add_argument("--port", type=int)
arguments = parser.parse_args()
{"sqlalchemy": sqlalchemy, "django": django}[arguments.library](arguments)
