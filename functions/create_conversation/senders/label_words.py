"""The words by which a label says what its field holds, in several languages: one list for all senders.

Labels are compared without case, accents and punctuation (`contact_details.words_of`), so `E-Mail-Adresse`, `e_mail`
and `eMail` all contain "e mail". A phrase matches whole words; `*` stands for any more letters at that side, which
compounds need (`telefon*` is in Telefonnummer) and languages that write no blanks between words.
"""

EMAIL = """
en: email*, e mail, e mails, mail, mail address
de: mailadresse, emailadresse, e mailadresse, mailkontakt
fr: courriel, adresse electronique, mel
es pt: correo, correo electronico, correio eletronico, endereco eletronico
it: posta elettronica, indirizzo di posta
nl: mailadres, emailadres, e mailadres
pl: poczta, adres poczty, mejl, meil
sv da no: epost*, e post, e postadress, e postadresse, mejl, mejladress
fi: sahkoposti*
cs: elektronicka posta, mejl, mailova adresa
tr: eposta*, e posta, elektronik posta
hu ro: emailcim*, e mail cim, adresa de mail
ru uk: почта, почты, почту, эл почта, электронная почта, электронной почты, имейл*, емейл*, мейл, мыло, пошта, пошти,
  електронна пошта, емаіл
el: ηλεκτρονικο ταχυδρομειο, ηλεκτρονικη διευθυνση, εμαιλ, μειλ
ja: *メール*, *イーメール*, *Eメール*
zh: *邮箱*, *郵箱*, *邮件*, *電郵*, *电邮*, *信箱*, *電子郵件*
ko: *이메일*, *메일*, *전자우편*
he: מייל*, אימייל*, דואר אלקטרוני, דוא ל, כתובת מייל
ar fa: *بريد*, *ايميل*, *الايميل*, *پست الكترونيك*, *پست الکترونیک*, *ایمیل*
hi th vi: *ईमेल*, *ई मेल*, *อีเมล*, thu dien tu
id lv lt et hr: surel, alamat surel, epasts, epasta*, elpastas*, elpasto*, e pasta*, elektroninis pastas
"""

PHONE = """
en: phone*, *phone, *phone number, telephone*, tel, mobile, mobile number, cell, cellphone*, cell number,
  whatsapp*, whats app*,
  sms number, text number, contact number, call back number, callback number, daytime number, best number,
  number to call, number to reach, number can we reach, number can we call, number should we call,
  reach you by phone, landline
de: telefon*, *telefon, *telefonnummer, handy*, mobil, mobilnummer, mobilfunk*, rufnummer*, festnetz*, ruckruf*,
  fon
fr: telephone*, portable, numero de portable, mobile
es pt: telefono*, telefone*, movil, celular*, telemovel*, telf, numero de contacto, numero para contato
it: telefono*, cellulare*, recapito telefonico, numero di cellulare
nl: telefoon*, *telefoonnummer, mobiel*, gsm, gsm nummer
pl: telefon*, numer telefonu, komorka, komorkowy, nr tel
sv da no: telefon*, mobil, mobilnummer, mobiltelefon, tlf, telefonnr
fi: puhelin*, *puhelin, puhelinnumero, matkapuhelin*
cs: telefon*, mobil, telefonni cislo, mobilni
tr: telefon*, cep telefonu, cep numarasi, gsm, telefon numarasi
hu ro: telefonszam*, mobilszam, telefon*
ru uk: телефон*, тел, мобильн*, мобильный, мобільн*, номер телефона, номер телефону, моб, сотовый
el: τηλεφων*, κινητο, τηλ
ja: denwa*, denwabango*, keitai*, *電話*, *携帯*, *でんわ*, *ケータイ*
zh: *电话*, *電話*, *手机*, *手機*, *手机号*, *联系方式*, *行動電話*
ko: *전화*, *휴대폰*, *핸드폰*, *휴대전화*, *연락처*
he: טלפון*, נייד, פלאפון, סלולרי, מספר טלפון
ar fa: *هاتف*, *جوال*, *موبايل*, *تليفون*, *تلفن*, *موبایل*, *همراه*
hi th vi: *फोन*, *फ़ोन*, *मोबाइल*, *โทรศัพท์*, *เบอร์โทร*, *มือถือ*, dien thoai, so dien thoai, sdt
id lv lt et hr: telepon, nomor telepon, no telepon, telp, no telp, no hp, nomor hp, handphone, ponsel, talrun*,
  talruna numurs, mobitel*, broj telefona
"""

FIRST_NAME = """
en: first, first name, firstname*, fname, given name, givenname, given names, forename, christian name,
  name first, f name
de: vorname*
fr: prenom*
es pt it: nombre de pila, primer nombre, primeiro nome, nome proprio, nome de batismo, nome di battesimo, primo nome
nl: voornaam*
pl: imie
sv da no: fornamn*, fornavn*
fi: etunimi*
cs: krestni jmeno, krestni
tr: on ad, ilk ad, on isim
hu ro: keresztnev*, utonev*, prenume*
ru uk: собственное имя
el: μικρο ονομα, κυριο ονομα
ja: 名, お名前 名, 氏名 名, 名前 名, 姓名 名, *下の名前*, めい
zh: 名
he: שם פרטי
ar fa: الاسم الاول, اسم الاول, نام كوچك, نام کوچک
hi th vi: पहला नाम, *ชื่อจริง*, ten goi
id lv lt et sk: nama depan, vards, vardas, eesnimi, krstne meno
"""

LAST_NAME = """
en: last, last name, lastname*, lname, surname*, family name, familyname, second name, name last, name family, l name
de: nachname*, familienname*, zuname*
fr: nom de famille
es pt: apellido, apellidos, primer apellido, sobrenome, apelido, ultimo nome
it: cognome*
nl: achternaam*, familienaam
pl: nazwisko, nazwiska
sv da no: efternamn*, efternavn*, etternavn*
fi: sukunimi*
cs: prijmeni
tr: soyad, soyadi, soyadiniz, soyisim, soy isim
hu ro: vezeteknev*, csaladnev*, nume de familie
ru uk: фамилия, ваша фамилия, прізвище
el: επωνυμο, επιθετο
ja: 姓, お名前 姓, 氏名 姓, 名前 姓, 姓名 姓, *苗字*, せい
zh: 姓, 姓氏
ko: 성, 성씨
he: שם משפחה
ar fa: اسم العائلة, اللقب, الاسم الاخير, نام خانوادگي, نام خانوادگی
hi th vi: उपनाम, *นามสกุล*, ho
id lv lt et hr sk sl: nama belakang, uzvards, pavarde, perekonnanimi, perenimi, prezime, priezvisko, priimek
"""

# A whole label, without the words that say nothing (`FILLERS`): one name field for all of it. Beside a field that
# says it is the first name, it is the last one, and the other way round (fr: Prénom and Nom; it: Nome and Cognome).
FULL_NAME = """
en: name, names, individual name, full name, fullname, name full, contact person, first and last name,
  first last name,
  name and surname, first and last, firstandlast, name first last,
  first name and last name, first name last name, contact name, caller name
de: vorname name, vor und nachname, vor und zuname, vorname nachname, vorname und nachname, name vorname,
  name und vorname,
  vollstandiger name, ansprechpartner
fr: nom, nom complet, nom et prenom, nom prenom, prenom et nom, noms
es pt: nombre, nombre completo, nombre y apellido, nombre y apellidos, nombre s y apellido s, nombres y apellidos,
  nome sobrenome, nombres, nome, nome completo,
  nome e sobrenome, nome e apelido
it: nome e cognome, nome cognome, nominativo
nl: naam, volledige naam, voor en achternaam, voornaam en achternaam, voornaam achternaam
pl: imie i nazwisko, imie nazwisko
sv da no: namn, navn, fullstandigt namn, for och efternamn, fulde navn, fornavn og etternavn, fornavn og efternavn,
  for og etternavn, for og efternavn,
  fornamn och efternamn, fullt navn
fi: nimi, koko nimi, etu ja sukunimi, etunimi ja sukunimi
cs: jmeno, jmeno a prijmeni, cele jmeno
tr: ad, adi, adiniz, isim, isminiz, ad soyad, ad ve soyad, adiniz ve soyadiniz, adi soyadi, adiniz soyadiniz,
  ad soyadi, isim soyisim, tam ad
hu ro: nev, teljes nev, nume, nume complet, nume si prenume
ru uk: имя, ім я, фио, имя и фамилия, имя фамилия, фамилия и имя, фамилия имя, полное имя, піб, ім я та прізвище,
  повне ім я
el: ονομα, ονοματεπωνυμο, ονομα και επωνυμο, πληρες ονομα
ja: onamae, namae, shimei, 名前, お名前, 氏名, ご氏名, 御氏名, フルネーム
zh: 名字, 姓名, 您的姓名, 名称, 稱呼, 称呼
ko: 이름, 성함, 성명, 이름 성
he: שם, שם מלא, שם פרטי ומשפחה, שם ושם משפחה
ar fa: الاسم, الاسم الكامل, اسم, نام, نام و نام خانوادگي, نام و نام خانوادگی
hi th vi: नाम, पूरा नाम, ชื่อ, ชื่อ นามสกุล, ten, ho ten, ho va ten
de fr es it, asked: heissen, heissen sie, comment vous appelez vous, como te llamas, como se llama,
  come ti chiami, come si chiama
id lv lt et hr sk sl bg: nama, nama lengkap, vards uzvards, vards un uzvards, vardas pavarde, vardas ir pavarde,
  taisnimi, ime, ime i prezime, meno, meno a priezvisko, ime in priimek, име, име и фамилия
"""

# Left out of a label before it is compared with FULL_NAME: whose name it is (the visitor's), and politeness.
FILLERS = """
en: your, my, the, a, what, s, is, are, whats, please, enter, type, tell, us, give, and what, may, we, have, can,
  get, required, optional, customer, contact, client, lead, visitor, caller, billing, buyer, invitee, attendee,
  applicant, participant, owner, owners, guest, patient, member, q, input, field, text, cf, wpcf, no, label
de fr es pt it nl: ihr, dein, bitte, wie, heisst, lautet, ihren, deinen, geben, sie, ein, votre, vos, ton, quel, est,
  su, tu, cual, es, seu, teu, qual, e, o, suo, tuo, il, uw, je, jouw, wat, le, el
pl sv da no fi cs tr ru uk el: twoje, panstwa, ditt, dit, din, sinun, vase, sizin, ваше, как, вас, зовут, το, σας
"""

# Another person than the one of the submission: the form's owner, who gets the notification, a friend.
SOMEONE_ELSE = """
en: post author, admin, administrator, site admin, webmaster, recipient*, notification*, notify, notifications,
  cc, bcc, to email, email to, mail to, send to, sent to, send copy to, assigned*, assignee*, rep,
  sales rep, salesperson, staff, host, hosts, member email, event memberships, event guests, noreply, no reply,
  friend*, colleague*, coworker*, spouse*, husband*, wife, emergency, referral*, referred*, referrer*, reference,
  witness*, their, his, her, store email, shop email, site email, store phone, shop phone, created by, updated by,
  initiated by, pet, dog, from email, from address, from name, business phone number, tracking*, destination*
de: empfanger*, benachrichtigung*, kollege*, kollegin*, freund, freunde, freundin, freundes, ehepartner*, notfall*,
  betreuer*
fr: destinataire*, collegue*, ami, amie, conjoint*, urgence, administrateur*
es pt: destinatario*, amigo*, colega*, companero*, conyuge, emergencia, administrador*
it: collega*, amico, coniuge, emergenza, amministratore*
nl pl sv da no fi cs tr: ontvanger*, collega*, odbiorc*, znajom*, mottagare*, modtager*, mottaker*, vastaanottaja*,
  prijemce*, alici, arkadas*
ru uk: получател*, администратор*, одержувач*, друг, друга
"""

# The site's or the record's owner, unless the form asks for no other person: then it is the owner of a house or a dog.
OWNER = """
en: owner, owners, owner s, author, organizer*, organiser*, merchant*, vendor*
de: inhaber*, besitzer*, eigentumer*, vermieter*, arbeitgeber*
fr es pt it: proprietaire*, propietario*, proprietario*
nl pl sv da no fi cs: eigenaar*, wlasciciel*, agare, ejer, eier, omistaja*, majitel*
ru uk: владел*, власник*
"""

# A further address or number of the same person: used after those without such a word.
SECONDARY = """
en: guest*, secondary, alternate, alternative, alt, other, another, second, additional, backup, work, office, company,
  business, confirm, confirmation, repeat, again, verify, shipping, from, sender, reply to, replyto, billing contact,
  home
de: weitere*, zweite*, geschaftlich*, firma*, wiederholen, bestatigen, bestatigung
fr es it: autre, secondaire, professionnel*, entreprise, otro, secundario, empresa, trabajo, altro, secondario,
  aziendale, lavoro
"""

# A related person: only where there is nothing else of this kind, and never for a name.
RELATED = """
en: agent*, partner*, employer*, landlord*, supervisor*, manager*, boss, child*, kid, kids, son, daughter, student*,
  parent*, guardian*, mother*, father*, assistant*, attorney*, doctor*
de: vorgesetzte*, kind, kindes, schuler*, eltern*, mutter, vater, assistent*, anwalt*
fr es it: enfant*, parents, hijo*, padre*, madre*, figlio*, genitore*
"""

# A further address or number with such a word is still the person's own.
OWN = """
en: your, my
de fr es pt it nl: ihre, ihr, deine, dein, votre, ton, su, tu, seu, sua, tuo, tua, la tua, uw, jouw, je
pl sv da fi tr ru uk el: twoj, twoje, din, ditt, sinun, sizin, ваш, ваша, твой, ваше, σας
"""

# Beside a word for phone: the value is not a number to call.
NOT_PHONE = """
en: imei, serial, serial number, id, sid, uuid, vid, timestamp, created at, updated at, verified*, consent*, opt in,
  optin, hash
"""

# Without a word for phone: a number of something else, even if it is written like a phone's.
OTHER_NUMBER = """
en: fax*, telefax*, imei, serial*, model, order*, invoice*, id, sid, uuid, vid, timestamp, date, amount, total, price,
  budget, card, account*, iban, vat, tax*, zip*, postcode, postal code, ip, sku, number of, token, code, ticket*,
  reference*, ssn, policy, case, quantity, version
de: telefax*, rechnung*, bestell*, kundennummer, auftrag*, vertrag*, datum, betrag, konto*, steuer*, plz
fr es it: telecopie*, telecopieur, commande, facture, compte, pedido, factura, cuenta, fattura, ordine, conto, cep,
  cpf, cnpj, siret
"""

COUNTRY_CODE = """
en: country code, countrycode, phone code, dial code, dialcode, dialing code, dialling code, calling code,
  phone country, phone prefix, phone country code, international code, isd code, country prefix, country dial code,
  countrycallingcode
de fr es it nl: landervorwahl, landesvorwahl, indicatif, indicatif pays, prefijo, codigo de pais, prefisso,
  prefisso internazionale, codigo do pais, ddi, landcode, landnummer, kierunkowy
"""

# The first digits of a number within its country, in a field of their own.
AREA_CODE = """
en: area code, areacode, phone area, phone area code
de fr es pt it nl: vorwahl, ortsvorwahl, telefonvorwahl, indicatif regional, codigo de area, ddd, prefisso locale,
  netnummer
"""

# Objects whose `name` is a person's, not a product's or a form's: the last word or words of the path to it.
PERSON_PARENTS = """
en: contact, user, customer, client, lead, person, visitor, invitee, attendee, billing, billing address, shipping,
  customer details, contact profile, profile, data, fields, form data, form fields, form response, answers, response,
  responses, submission, payload, user inputs, additional fields, hidden, custom data, properties, body, details,
  personal, personal info, applicant, participant, buyer, subscriber, customer info, contact info,
  contact information, primary contact, detail, default address, raw request
"""

EXTENSION = """
en: ext, extn, extension, x
de fr es it pt nl: durchwahl, dw, nst, nebenstelle, poste, ext tel, extension no, int, interno, ramal, toestel, wew,
  vnitrni, доб, добавочный, вн, внутр, 内線, 分机, 分機, 내선
"""

# What a message never shows: passwords and keys, payment data, numbers of the person's identity documents.
PRIVATE = """
en: pass1, pass2, user pass, userpass, card exp, card exp date, card exp month, card exp year,
  ccv*, ccnum, cc exp*, ccexp*, ni number, nric*, mykad*, cnic*, hkid*, emirates id, iqama*, bvn, nin, password*,
  passwd, passphrase, passcode, pwd, api key, apikey, secret key, access token, auth token, bearer token,
  client secret, private key, security answer, pin, pin number, one time code, otp, card number, cardnumber, card no,
  card num, creditcard number, credit card, creditcard*, debit card, debitcard*, cc number, ccnumber, cvc*, cvv*, cvn,
  csc, card code, card verification*, security code, securitycode, card security code, card expiry, card expiration,
  iban*, bank account, bank account number, routing number, sort code, ssn*, social security*, socialsecurity*,
  sin number, social insurance number, national id, nationalid*, national identity*, national identification*,
  national insurance number, national insurance no, identity card*, identity number, identity no, identity document,
  id card, id card number, passport number, passport no, passportnumber, citizen id, aadhaar*, aadhar*, pan card,
  pan number, itin
de: kartennr*, karten nr, kreditkartennr*, passwort*, kennwort*, geheimnummer, kreditkarte*, kartennummer*,
  kartenprufnummer, prufziffer, sicherheitscode*, kartenprufziffer, kontonummer, bankverbindung*,
  sozialversicherungsnummer, sozialversicherungs nr, steuer id, steueridentifikationsnummer,
  steuer identifikationsnummer, personalausweis*, ausweisnummer*, reisepass*, ahv nummer, ahv nr, svnr
fr: carte bleue, numero de cb, numero national, registre national, numero de la carte, mot de passe, motdepasse*,
  numero de carte, carte bancaire, carte de credit, cryptogramme*, code de securite, numero de securite sociale,
  securite sociale, carte d identite, numero de passeport, nir, rib
es pt: numero de la tarjeta, numero do cartao de, seguranca social, seguro social, rg, contrasena*, clave de acceso,
  senha*, palavra passe, tarjeta de credito, numero de tarjeta, cartao de credito, numero do cartao,
  codigo de seguridad, codigo de seguranca, cuenta bancaria, conta bancaria, dni, numero de dni, numero dni,
  dni o nie, dni nie, nie, nif, numero de identidad, cedula*, documento de identidad, numero de la seguridad social,
  seguridad social, cpf*, carteira de identidade, cartao de cidadao, curp*, rut, pasaporte, passaporte
it: numero della carta, parola d ordine, carta di credito, numero di carta, numero carta, codice di sicurezza,
  codice fiscale, carta d identita
nl: wachtwoord*, creditcardnummer*, kaartnummer*, beveiligingscode*, rekeningnummer*, bsn, burgerservicenummer*,
  paspoortnummer*, rijksregisternummer*
pl: haslo, numer karty, kod bezpieczenstwa, pesel*, numer dowodu, dowod osobisty, numer konta
sv da no: losenord*, adgangskode*, passord*, kortnummer*, sakerhetskod*, sikkerhetskode*, personnummer*, personnr,
  fodselsnummer*, cpr nummer, kontonummer*
fi: salasana*, kortin numero, luottokort*, turvakoodi*, henkilotunnus*, hetu
cs sk: heslo, cislo karty, bezpecnostni kod, rodne cislo, cislo op, obciansky preukaz
tr: sifre*, kart numarasi, guvenlik kodu, tc kimlik*, t c kimlik*, kimlik no, kimlik numarasi
hu ro: jelszo*, kartyaszam*, biztonsagi kod, szemelyi szam, szemelyi igazolvany*, taj szam, cnp, numar card,
  serie buletin, numar buletin
ru uk: пароль*, номер карты, номер картки, снилс, паспорт*, серия и номер, инн физ*, рнокпп, код безопасности,
  код безпеки
bg hr sr sl: парола, егн, номер на карта, lozinka*, broj kartice, oib, jmbg, geslo, emso
el: κωδικος προσβασης, συνθηματικο, αριθμος καρτας, κωδικος ασφαλειας, αμκα, αριθμος ταυτοτητας
ja: *パスワード*, *暗証番号*, *カード番号*, *クレジットカード*, *セキュリティコード*, *マイナンバー*, *個人番号*,
  *口座番号*, *旅券番号*
zh: *密码*, *密碼*, *卡号*, *卡號*, *信用卡*, *安全码*, *安全碼*, *身份证*, *身份證*, *身分證*, *护照号*, *護照號*
ko: *비밀번호*, *카드번호*, *카드 번호*, *보안코드*, *보안 코드*, *주민등록번호*, *주민번호*, *여권번호*, *계좌번호*
he: סיסמה*, סיסמא*, מספר כרטיס, כרטיס אשראי, קוד אבטחה, תעודת זהות, מספר זהות
ar fa: كلمة المرور, كلمة السر, رقم البطاقة, رمز الامان, رقم الهوية, الرقم القومي, رقم جواز السفر, رمز عبور, گذرواژه,
  شماره کارت, شماره كارت, کد ملی, كد ملي
hi th vi: पासवर्ड*, *आधार*, *รหัสผ่าน*, *บัตรเครดิต*, *เลขบัตรประชาชน*, *บัตรประชาชน*, mat khau, can cuoc*, cccd,
  cmnd
id lv lt et: kata sandi, nomor kartu, nik, ktp, nomor ktp, personas kods, slaptazodis, asmens kodas, salasona,
  parool*, isikukood*
"""
